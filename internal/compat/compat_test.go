package compat_test

import (
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// TestMain makes the test binary the mock agent too.
func TestMain(m *testing.M) {
	if serve.Program() {
		return
	}
	goleak.VerifyTestMain(m)
}

// connection is a connection of a client to a server.
type connection struct {
	*serve.Server
	t    *testing.T
	path string
}

// post sends a frame and returns the response, which has to have a status and some
// parts.
func (c connection) post(frame string, status int, parts ...string) string {
	c.t.Helper()
	got, body := c.Send(c.t, "POST", c.path, frame)
	c.check(got, body, status, parts)
	return body
}

// get sends another request.
func (c connection) get(path string, status int, parts []string, headers ...string) {
	c.t.Helper()
	got, body := c.Send(c.t, "GET", path, "", headers...)
	c.check(got, body, status, parts)
}

func (c connection) check(got int, body string, status int, parts []string) {
	c.t.Helper()
	if got != status {
		c.t.Fatalf("status %d, want %d: %s", got, status, body)
	}
	for _, part := range parts {
		if !strings.Contains(body, part) {
			c.t.Errorf("%s is not in %s", part, body)
		}
	}
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

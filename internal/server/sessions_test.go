package server_test

import (
	"encoding/json"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/server"
)

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

func TestSessionRoutes(t *testing.T) {
	in := start(t, server.Config{})
	s := decode[api.Session](t, in.check(t, scenario{method: "POST", path: "/v1/sessions", header: map[string]string{"Content-Type": "application/json"}, body: `{"agent":"mock"}`, status: 201, want: []string{`"status":"idle"`}}))
	out := in.check(t, scenario{method: "POST", path: "/v1/sessions/" + s.ID + "/prompt", header: map[string]string{"Content-Type": "application/json"}, body: `{"prompt":"hello"}`, status: 200, want: []string{`"stopReason":"end_turn"`, `You said: hello`}})
	t.Log(out)
	t.Log(in.check(t, scenario{path: "/v1/sessions/" + s.ID, status: 200}))
	t.Log(in.check(t, scenario{path: "/v1/sessions/" + s.ID + "/events", status: 200}))
	t.Log(in.check(t, scenario{path: "/v1/sessions/" + s.ID + "/transcript?format=markdown", status: 200}))
	t.Log(in.check(t, scenario{path: "/v1/sessions?page=1&perPage=10", status: 200}))
}

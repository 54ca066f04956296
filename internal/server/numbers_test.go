package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// extremes are numbers that overflow something when they are counted with.
var extremes = []string{"0", "-1", "1", "2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775808", "1e400", "NaN", "0x7", "1.5"}

// TestNumbersOfQueriesAreRefusedOrClamped gives every number that a route takes in
// its query or its headers the extremes. The server answers with no fault of its
// own.
func TestNumbersOfQueriesAreRefusedOrClamped(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	type parameter struct {
		Name, In string
		Schema   struct{ Type string }
	}
	type operation struct{ Parameters []parameter }
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(in.check(t, scenario{path: "/openapi.json", status: 200})), &doc); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for path, operations := range doc.Paths {
		for method, raw := range operations {
			var o operation
			if json.Unmarshal(raw, &o) != nil {
				continue
			}
			for _, p := range o.Parameters {
				if p.Schema.Type != "integer" || p.In != "query" && p.In != "header" {
					continue
				}
				for _, n := range extremes {
					tried++
					in.tryNumber(t, strings.ToUpper(method), strings.NewReplacer("{id}", "s", "{path}", "x").Replace(path), p.Name, p.In, n)
				}
			}
		}
	}
	if tried < 10*len(extremes) {
		t.Errorf("only %d numbers were tried", tried)
	}
	in.check(t, scenario{path: "/v1/health", status: 200})
}

func (in *instance) tryNumber(t *testing.T, method, path, name, where, n string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target := in.url + path
	if where == "query" {
		target += "?" + url.QueryEscape(name) + "=" + url.QueryEscape(n)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if where == "header" {
		req.Header.Set(name, n)
	}
	resp, err := in.client.Do(req)
	if err != nil {
		t.Errorf("%s %s, %s is %s: %v", method, path, name, n, err)
		return
	}
	resp.Body.Close()
	if resp.StatusCode >= 500 {
		t.Errorf("%s %s, %s is %s: status %d", method, path, name, n, resp.StatusCode)
	}
}

// TestLongExpiryDoesNotComeAtOnce has policies with expiries that are longer than a
// duration can be.
func TestLongExpiryDoesNotComeAtOnce(t *testing.T) {
	in := start(t, app.Config{})
	for i, ms := range []string{"9223372036854775807", "9223372036855", "9007199254740991", "3153600000001"} {
		id := fmt.Sprintf("s%d", i)
		in.create(t, `,"id":"`+id+`","permissions":{"expireAfterMs":`+ms+`}`)
		in.askAsync(t, id)
		await(t, "a request", func() bool { return in.session(t, id).PendingPermissions == 1 })
		p := decode[api.PermissionList](t, in.check(t, scenario{path: "/v1/sessions/" + id + "/permissions", status: 200})).Permissions[0]
		if p.ExpiresAt < time.Now().Add(365*24*time.Hour).UnixMilli() {
			t.Errorf("with %s it expires at %d", ms, p.ExpiresAt)
		}
		in.check(t, scenario{method: "POST", path: "/v1/sessions/" + id + "/permissions/" + p.ID, header: jsonBody, body: `{"reply":"once"}`, status: 200})
	}
}

func TestPageBehindTheLastIsEmpty(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	for _, page := range []string{"2", "9223372036854775807", "9223372036854775", "92233720368547759"} {
		for _, perPage := range []string{"1", "1000"} {
			in.check(t, scenario{path: "/v1/sessions?page=" + page + "&perPage=" + perPage, status: 200, want: []string{`"sessions":[]`, `"total":1`}})
			if page != "2" {
				in.check(t, scenario{path: "/v1/sessions/s/events?page=" + page + "&perPage=" + perPage, status: 200, want: []string{`"events":[]`}})
			}
		}
	}
}

// TestTokenNeedsItsScheme spells the Authorization header in ways that count and in
// ways that do not.
func TestTokenNeedsItsScheme(t *testing.T) {
	in := start(t, app.Config{Token: "secret"})
	for header, status := range map[string]int{
		"Bearer secret": 200, "bearer secret": 200, "BEARER secret": 200, "bEaReR secret": 200,
		"secret": 401, "": 401, "Bearer": 401, "Bearer ": 401, "Bearersecret": 401, "Basic secret": 401, "Token secret": 401, "Bearer Bearer secret": 401,
		"Bearer secret,": 401, "Bearer SECRET": 401, "Bearer secret secret": 401,
	} {
		in.check(t, scenario{path: "/v1/sessions", header: map[string]string{"Authorization": header}, status: status})
	}
}

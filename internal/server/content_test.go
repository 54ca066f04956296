package server_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// TestContentHasALimitOfItsOwn sends an agent more than other bodies may have.
func TestContentHasALimitOfItsOwn(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	prompt := func(bytes int) string {
		return `{"prompt":[{"type":"text","text":"/echo fine"},{"type":"image","mimeType":"image/png","data":"` + strings.Repeat("A", bytes) + `"}]}`
	}
	frame := func(bytes int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"x","params":{"text":"` + strings.Repeat("A", bytes) + `"}}`
	}
	in.run(t, []scenario{
		{name: "prompt", method: "POST", path: "/v1/sessions/s/prompt", header: jsonBody, body: prompt(5 << 20), status: 200, want: []string{`"stopReason":"end_turn"`}},
		{name: "frame", method: "POST", path: "/v1/acp/c?agent=mock", header: jsonBody, body: frame(5 << 20), status: 200},
		{name: "prompt over the limit", method: "POST", path: "/v1/sessions/s/prompt", header: jsonBody, body: prompt(33 << 20), status: 413, want: []string{"maxContentBytes (33554432)"}},
		{name: "frame over the limit", method: "POST", path: "/v1/acp/c", header: jsonBody, body: frame(33 << 20), status: 413, want: []string{"maxContentBytes (33554432)"}},
		{name: "control stays small", method: "PATCH", path: "/v1/sessions/s", header: jsonBody, body: `{"title":"` + strings.Repeat("A", 3<<20) + `"}`, status: 413, want: []string{"maxBodyBytes"}},
		{name: "limit is told", path: "/v1/limits", status: 200, want: []string{`"maxContentBytes":33554432`}},
		{name: "prompt of another type", method: "POST", path: "/v1/sessions/s/prompt", header: map[string]string{"Content-Type": "text/plain"}, body: "x", status: 415},
	})
	small := start(t, app.Config{Limits: api.Limits{MaxContentBytes: 100}})
	small.create(t, `,"id":"s"`)
	small.check(t, scenario{method: "POST", path: "/v1/sessions/s/prompt", header: jsonBody, body: prompt(100), status: 413, want: []string{"maxContentBytes (100)"}})
}

package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
)

// The description has the bounds that handlers enforce, and what breaks one is a fault
// of the request.
func TestDescribedBoundsAreEnforced(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	if err := os.WriteFile(filepath.Join(in.home, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 300)
	doc := decode[struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					MinLength, Minimum *float64
				}
			}
		}
	}](t, in.check(t, scenario{path: "/openapi.json", status: 200}))
	for _, test := range []struct{ schema, property, method, path, body string }{
		{"ProcessRunRequest", "command", "POST", "/v1/processes/run", `{"command":""}`},
		{"ProcessCreateRequest", "command", "POST", "/v1/processes", `{"command":""}`},
		{"SessionCreateRequest", "agent", "POST", "/v1/sessions", `{"agent":""}`},
		{"SessionConfigOptionRequest", "configId", "POST", "/v1/sessions/s/config-options", `{"configId":"","value":"x"}`},
		{"FileMoveRequest", "from", "POST", "/v1/fs/move", `{"from":"","to":"x"}`},
		{"FileMoveRequest", "to", "POST", "/v1/fs/move", `{"from":"x","to":""}`},
		{"FileBatchItem", "path", "POST", "/v1/fs/batch", `{"files":[{"path":"","content":""}]}`},
		{"ProcessConfigPatch", "maxConcurrentProcesses", "POST", "/v1/processes/config", `{"maxConcurrentProcesses":0}`},
		{"ProcessConfigPatch", "maxRunTimeoutMs", "POST", "/v1/processes/config", `{"maxRunTimeoutMs":0}`},
		{"ProcessConfigPatch", "maxOutputBytes", "POST", "/v1/processes/config", `{"maxOutputBytes":0}`},
		{"", "", "GET", "/v1/processes/proc_1/logs?tail=-1", ""},
		{"", "", "GET", "/v1/fs/archive?compression=rar", ""},
		{"", "", "GET", "/v1/fs/entries?limit=-1", ""},
		{"", "", "GET", "/v1/config/mcp?directory=&mcpName=", ""},
		{"", "", "GET", "/v1/config/mcp?directory=file", ""},
		{"", "", "PUT", "/v1/config/skills?directory=file&skillName=x", `{"sources":[]}`},
		{"", "", "DELETE", "/v1/config/mcp?directory=file%2Fbelow&mcpName=x", ""},
		{"", "", "PUT", "/v1/config/mcp?mcpName=x&directory=" + long, `{"type":"local","command":"true"}`},
		{"", "", "POST", "/v1/sessions/s/prompt", `{"prompt":[null]}`},
		{"", "", "POST", "/v1/sessions/s/prompt", `{"prompt":[{"type":"text","text":"x"},{"text":"y"}]}`},
	} {
		if test.schema != "" {
			if p := doc.Components.Schemas[test.schema].Properties[test.property]; p.MinLength == nil && p.Minimum == nil {
				t.Errorf("%s.%s has no bound", test.schema, test.property)
			}
		}
		got := in.check(t, scenario{method: test.method, path: test.path, header: jsonBody, body: test.body, status: 400})
		if !strings.Contains(got, `"code":`) {
			t.Errorf("%s %s: %s", test.method, test.path, got)
		}
	}
}

package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

// newConfigServer serves with small limits and returns the default directory of
// the configuration too.
func newConfigServer(t *testing.T) (base, dir string) {
	t.Helper()
	in := start(t, app.Config{Limits: api.Limits{MaxBodyBytes: 10_000}})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return in.url, in.home
}

func call(t *testing.T, method, target, contentType, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := "application/problem+json"; res.StatusCode >= 400 && res.Header.Get("Content-Type") != want {
		t.Errorf("%s %s: content type %q", method, target, res.Header.Get("Content-Type"))
	}
	return res.StatusCode, strings.TrimSpace(string(data))
}

func TestConfigRoutes(t *testing.T) {
	base, dir := newConfigServer(t)
	other := t.TempDir()
	in := "directory=" + url.QueryEscape(other)
	const json = "application/json"
	local := `{"type":"local","command":"x","args":[]}`
	for i, tt := range []struct {
		method, path, contentType, body string
		status                          int
		want                            string // the answer, or a part of a problem
	}{
		// As the TypeScript client calls them.
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", json, `{"type":"stdio","command":"x"}`, 204, ""},
		{"GET", "/v1/config/mcp?" + in + "&mcpName=a", "", "", 200, local},
		{"GET", "/v1/config/mcp?" + in + "&mcp_name=a", "", "", 200, local},
		{"GET", "/v1/config/mcp?" + in + "&mcpName=b", "", "", 404, `"detail":"session not found: mcp:b","code":"config_not_found","sessionId":"mcp:b"`},
		{"GET", "/v1/config/mcp?" + in, "", "", 200, `{"mcpServers":{"a":` + local + `}}`},
		{"DELETE", "/v1/config/mcp?" + in + "&mcpName=a", "", "", 204, ""},
		{"DELETE", "/v1/config/mcp?" + in + "&mcpName=a", "", "", 204, ""},
		{"PUT", "/v1/config/skills?" + in + "&skill_name=s", "application/vnd.x+json; charset=utf-8", `{"sources":[{"type":"github","source":"o/r"}]}`, 204, ""},
		{"GET", "/v1/config/skills?" + in + "&skillName=s", "", "", 200, `{"sources":[{"type":"github","source":"o/r"}]}`},
		{"GET", "/v1/config/skills?" + in + "&skillName=t", "", "", 404, `session not found: skills:t`},
		{"DELETE", "/v1/config/skills?" + in + "&skillName=s", "", "", 204, ""},

		// As the Python client calls them.
		{"GET", "/v1/config/mcp", "", "", 200, `{"mcpServers":{}}`},
		{"PUT", "/v1/config/mcp", json, `{"servers":[]}`, 204, ""},
		{"PUT", "/v1/config/mcp", json, `{"mcpServers":{"a":{"command":"x"}}}`, 204, ""},
		{"GET", "/v1/config/mcp", "", "", 200, `{"mcpServers":{"a":` + local + `}}`},
		{"DELETE", "/v1/mcp", "", "", 204, ""},
		{"GET", "/v1/config/mcp", "", "", 200, `{"mcpServers":{}}`},
		{"GET", "/v1/config/skills", "", "", 200, `{"skills":{}}`},
		{"PUT", "/v1/config/skills", json, `{"sources":[{"type":"local","source":"p"}]}`, 204, ""},
		{"GET", "/v1/config/skills", "", "", 200, `{"skills":{"default":{"sources":[{"type":"local","source":"p"}]}}}`},
		{"DELETE", "/v1/skills", "", "", 204, ""},
		{"DELETE", "/v1/skills", "", "", 204, ""},
		{"GET", "/v1/config/skills", "", "", 200, `{"skills":{}}`},

		// What is wrong.
		{"DELETE", "/v1/config/mcp?" + in, "", "", 400, "invalid request: missing required 'mcpName' query parameter"},
		{"GET", "/v1/config/mcp?directory=%20&mcpName=a", "", "", 400, "missing required 'directory' query parameter"},
		{"GET", "/v1/config/mcp?" + in + "&mcpName=", "", "", 400, "missing required 'mcpName' query parameter"},
		{"PUT", "/v1/config/skills?" + in + "&skill_name=", json, `{}`, 400, "missing required 'skillName' query parameter"},
		{"GET", "/v1/config/mcp?mcpName=a&mcp_name=b", "", "", 400, "duplicate field `mcpName`"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=%ff", json, `{"type":"stdio","command":"x"}`, 400, "'mcpName' is not text"},
		{"GET", "/v1/config/mcp?mcpName=%zz", "", "", 400, "query string does not parse"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", json, `{"type":"sse"}`, 422, "type: unknown variant `sse`, expected one of `local`, `stdio`, `http`, `remote` at line 1 column 13"},
		{"PUT", "/v1/config/mcp?" + in, json, `{"type":"local","command":"x"}`, 422, "type: expected an object"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", json, `{"type":`, 400, "invalid_json"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", "", `{}`, 415, "content-type must be application/json"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", "text/plain", `{}`, 415, "unsupported media type"},
		{"PUT", "/v1/config/mcp?" + in + "&mcpName=a", json, strings.Repeat(" ", 10_001), 413, "maxBodyBytes (10000)"},
	} {
		t.Run(fmt.Sprintf("%d %s %s", i, tt.method, tt.path), func(t *testing.T) {
			status, answer := call(t, tt.method, base+tt.path, tt.contentType, tt.body)
			match := answer == tt.want
			if status >= 400 {
				match = strings.Contains(answer, tt.want)
			}
			if status != tt.status || !match {
				t.Errorf("got %d %s\nwant %d %s", status, answer, tt.status, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, ".sandbox-agent")); err != nil {
		t.Error("the default directory was not used:", err)
	}
}

func TestConfigCorruptFile(t *testing.T) {
	base, dir := newConfigServer(t)
	path := filepath.Join(dir, ".sandbox-agent", "config", "mcp.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{oops"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		status, answer := call(t, method, base+"/v1/config/mcp?mcpName=a", "application/json", `{"type":"local","command":"x"}`)
		if status != 400 || !strings.Contains(answer, "invalid config file "+path) || !strings.Contains(answer, "config_invalid") {
			t.Errorf("%s: %d %s", method, status, answer)
		}
	}
	if status, answer := call(t, "DELETE", base+"/v1/mcp", "", ""); status != 204 {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := call(t, "GET", base+"/v1/config/mcp", "", ""); status != 200 || answer != `{"mcpServers":{}}` {
		t.Errorf("%d %s", status, answer)
	}
}

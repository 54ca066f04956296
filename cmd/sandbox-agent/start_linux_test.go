package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestServerWithoutPathFindsPrograms(t *testing.T) {
	for name, w := range map[string]world{"unset": {noPath: true}, "empty": {env: []string{"PATH="}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			p := serve(t, w, dir, "--agent-command", "probe=sh -c 'exec "+binary+" mock'")
			for _, body := range []map[string]any{
				{"command": "ls"},
				{"command": "sh", "args": []string{"-c", "ls / && echo $PATH"}},
				{"command": "env"},
			} {
				text := p.must(t, "POST", "/v1/processes/run", body)
				var result struct{ Stdout, Stderr string }
				if err := json.Unmarshal([]byte(text), &result); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(text, `"exitCode":0`) || result.Stderr != "" || body["command"] != "ls" && !strings.Contains(result.Stdout, "/usr/bin") {
					t.Errorf("%v: %s", body, text)
				}
			}
			p.must(t, "POST", "/v1/acp/a?agent=probe", map[string]any{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": map[string]any{"protocolVersion": 1}})
		})
	}
}

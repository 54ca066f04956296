package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
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

// A start does not fail because of a server of the same data that is just ending.
func TestStartWaitsForServerThatIsEnding(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := scratch(t)
			first := serve(t, world{}, dir)
			first.must(t, "POST", "/v1/processes", map[string]any{"command": "sh", "args": []string{"-c", "trap '' TERM; while :; do sleep 1; done"}})
			if err := first.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			// A server that was killed says nothing more; one that was asked to end
			// says so in its lock file, which takes it a moment.
			if sig == syscall.SIGTERM {
				testkit.Await(t, "the server to be ending", func() bool {
					owner, err := os.ReadFile(filepath.Join(dir, "data", "journal.db.lock"))
					return err == nil && strings.Contains(string(owner), "ending")
				})
			}
			second := serve(t, world{}, dir)
			second.must(t, "GET", "/v1/health", nil)
			<-first.ended
		})
	}
}

package permission_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

var guideBlock = regexp.MustCompile("(?ms)^```(json policy|verdicts|unattended)\n(.*?)^```$")

// TestGuide judges every example of the guide: a line of a block of verdicts is a
// decision, and a command or a tool call as JSON; the policy is that of the block
// before.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "guide", "permissions.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "project")
	outside := filepath.Join(filepath.Dir(dir), "outside")
	for _, d := range []string{filepath.Join(dir, "src"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "src", "out")); err != nil {
		t.Fatal(err)
	}
	var current *api.PermissionPolicy
	judged := map[string]int{}
	for _, block := range guideBlock.FindAllStringSubmatch(string(text), -1) {
		p := current
		switch block[1] {
		case "json policy":
			current = policy(t, block[2])
			continue
		case "unattended":
			p = permission.Unattended()
		}
		for line := range strings.Lines(block[2]) {
			want, what, ok := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, "#") {
				continue
			}
			if !ok || p == nil {
				t.Fatalf("%q is no example", line)
			}
			judged[want]++
			v := permission.Judge{Policy: p, Dir: dir}.Verdict(exampleCall(t, strings.TrimSpace(what)))
			if v.Decision != want {
				t.Errorf("the guide says %s, the judge says %s: %s", strings.TrimSpace(line), v.Decision, v.Reason)
			}
		}
	}
	for _, decision := range []string{allow, ask, reject} {
		if judged[decision] < 15 {
			t.Errorf("%d examples of %s were judged", judged[decision], decision)
		}
	}
}

// exampleCall is a command, or a tool call as JSON.
func exampleCall(t *testing.T, what string) acp.ToolCall {
	t.Helper()
	if !strings.HasPrefix(what, "{") {
		return run(t, what)
	}
	var call acp.ToolCall
	if err := json.Unmarshal([]byte(what), &call); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return call
}

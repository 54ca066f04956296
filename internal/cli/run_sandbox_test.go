package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// At the end of a run in a sandbox, changes are applied when the user has seen them and
// says so. What was typed before is no reply.
func TestRunAsksBeforeItAppliesChanges(t *testing.T) {
	const asks = `(?s).*Apply these changes to [^\n]*: $`
	for _, test := range []struct {
		name    string
		steps   []string // what is seen, and what is typed then
		applied bool
	}{
		{"yes", []string{`README.md \|.*` + asks, "y\r"}, true},
		{"no", []string{asks, "n\r"}, false},
		{"the diff, then yes", []string{asks, "d\r", `diff --git a/README.md b/README.md` + asks, "y\r"}, true},
		{"another word", []string{asks, "sure\r", `"sure" is not a reply to this request` + asks, "n\r"}, false},
		{"the end of the input", []string{asks, "\x04"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			home, dir := t.TempDir(), t.TempDir()
			env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TERM=xterm", "NO_COLOR=1", "GORACE=" + noRaceSleep}
			t.Cleanup(func() {
				for _, id := range sandboxIDs(t, env) {
					command(t, env, "sandbox", "rm", "--discard", id)
				}
			})
			p := sit(t, env, "run", "--agent", "mock", "--sandbox", "local", "--cwd", dir, "--yes", "add a README")
			for i := 0; i < len(test.steps); i += 2 {
				p.sees(test.steps[i])
				p.types(test.steps[i+1])
			}
			if code := p.leaves(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if _, err := os.Stat(filepath.Join(dir, "README.md")); errors.Is(err, fs.ErrNotExist) == test.applied {
				t.Errorf("applied is not %v: %v; screen:\n%s", test.applied, err, p.text())
			}
		})
	}
}

// sandboxIDs lists the sandboxes of a user.
func sandboxIDs(t *testing.T, env []string) (ids []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(homeOf(env), ".local", "state", "sandbox-agent", "sandboxes"))
	if err != nil {
		t.Error(err)
	}
	for _, entry := range entries {
		ids = append(ids, entry.Name())
	}
	return ids
}

func homeOf(env []string) string {
	for _, kv := range env {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok {
			return home
		}
	}
	return ""
}

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")
	sessionID    = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
)

func TestReadme(t *testing.T) { runConsole(t, "README.md", 2) }

func TestGuideToPermissions(t *testing.T) { runConsole(t, "docs/guide/permissions.md", 1) }

// runConsole types the commands that a document shows after a prompt, and compares
// what they print with what it shows. Requests with curl are left to the tests of
// their routes.
func runConsole(t *testing.T, document string, atLeast int) {
	readme, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	env := startServer(t)
	ran := 0
	for _, block := range consoleBlock.FindAllStringSubmatch(string(readme), -1) {
		var typed, shown []string
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				typed = append(typed, command)
			} else {
				shown = append(shown, line)
			}
		}
		script := strings.Join(typed, "")
		if strings.Contains(script, "curl") {
			continue
		}
		ran++
		dir := t.TempDir()
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		cmd.Env = env
		if len(shown) > 0 { // without a server, as somebody who begins
			cmd.Env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "SANDBOX_AGENT_") })
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s%v\n%s", script, err, out)
		}
		got := sessionID.ReplaceAllString(strings.ReplaceAll(string(out), dir, "/home/me/demo"), "ID")
		want := sessionID.ReplaceAllString(strings.Join(shown, ""), "ID")
		if want != "" && got != want {
			t.Errorf("%s shows\n%s\nand there was\n%s", document, want, got)
		}
	}
	if ran < atLeast {
		t.Errorf("%s has %d blocks of commands", document, ran)
	}
}

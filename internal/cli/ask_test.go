package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRunTakesRepliesTypedAfterTheRequestAlone(t *testing.T) {
	const discarded = `discarded what was typed before the request was shown`
	const asks = `(?s).*Allow edit: [^\n]*README.md[^\n]*: $`
	for _, test := range []struct {
		name    string
		before  string   // typed before the program reads it
		steps   []string // what is seen, and what is typed then
		written bool
	}{
		{"a line", "y\r", []string{discarded + asks, "n\r"}, false},
		{"lines, then a reply", "no\rwhatever\r", []string{discarded + asks, "y\r"}, true},
		{"the beginning of a line", "ye", []string{discarded + asks, "s\r", discarded + `(?s).*` + discarded + asks, "n\r"}, false},
		{"the beginning of a line, then a reply", "n", []string{discarded + asks, "\r", discarded + `(?s).*` + discarded + asks, "y\r"}, true},
		{"the end of the input", "\x04", []string{discarded + asks, "y\r"}, true},
		{"nothing", "", []string{asks, "y\r"}, true},
		{"the end of the input after it", "", []string{asks, "\x04"}, false},
		{"what is pasted", "", []string{asks, "hello\ry\r", `discarded what was pasted with other lines` + asks, "n\r"}, false},
		{"another word", "", []string{asks, "ok\r", `"ok" is not a reply to this request` + asks, "n\r"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=xterm", "NO_COLOR=1", "GORACE=" + noRaceSleep}
			p := sit(t, env, "run", "--agent", "mock", "--cwd", dir, "add a README")
			p.types(test.before)
			for i := 0; i < len(test.steps); i += 2 {
				p.sees(test.steps[i])
				p.types(test.steps[i+1])
			}
			if code := p.leaves(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if _, err := os.Stat(filepath.Join(dir, "README.md")); errors.Is(err, fs.ErrNotExist) == test.written {
				t.Errorf("written is not %v: %v; screen:\n%s", test.written, err, p.text())
			}
		})
	}
}

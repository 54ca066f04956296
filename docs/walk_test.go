// Package docs_test walks through the README and the guides as a newcomer does: it
// types every command, runs every program, and compares what they print with what
// the documents show.
package docs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// atMost bounds one document. It is a guard against a command that waits for ever.
const atMost = 10 * time.Minute

// documents returns the README, the index of the guides, and the guides in its order.
func documents(t *testing.T) []string {
	t.Helper()
	index, err := os.ReadFile(filepath.Join("guide", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"README.md", "docs/guide/README.md"}
	listed := map[string]bool{"README.md": true}
	for _, link := range regexp.MustCompile(`\]\(([a-z-]+\.md)\)`).FindAllStringSubmatch(string(index), -1) {
		if !listed[link[1]] {
			listed[link[1]] = true
			list = append(list, "docs/guide/"+link[1])
		}
	}
	files, err := filepath.Glob(filepath.Join("guide", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !listed[filepath.Base(file)] {
			t.Errorf("the index of the guides does not name %s", filepath.Base(file))
		}
	}
	return list
}

func TestWalk(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	install := exec.Command("go", "install", "./cmd/...")
	install.Dir, install.Env = root, append(os.Environ(), "GOBIN="+bin)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	for _, name := range documents(t) {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(name, ".md"), "/", "-"), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			w := newWalk(t, root, bin)
			if err := w.run(name, string(text)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A walk is one document that is followed in a scratch directory, by a user with an
// empty home directory.
type walk struct {
	root string // of the module
	base string // of everything that the walk writes
	port string // in place of 2468, which may be in use
	env  []string
}

func newWalk(t *testing.T, root, bin string) *walk {
	t.Helper()
	base, err := os.MkdirTemp("", "walk") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{root: root, base: base, port: freePort(t)}
	w.env = append(w.goEnvironment(t),
		"HOME="+w.dir("home"), "TMPDIR="+w.dir("tmp"), "XDG_RUNTIME_DIR="+w.dir("run"), "GOBIN="+w.dir("gobin"),
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "LANG=C.UTF-8", "TERM=dumb", "USER="+os.Getenv("USER"))
	for _, dir := range []string{"home", "tmp", "run", "work", "out"} {
		if err := os.Mkdir(w.dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(base, 0o755); err != nil { // sandboxes of root have users of their own
		t.Fatal(err)
	}
	t.Cleanup(func() { w.clean(t) })
	return w
}

func (w *walk) dir(name string) string { return filepath.Join(w.base, name) }

// goEnvironment lets the go command use the caches of the user whose tests these are.
func (w *walk) goEnvironment(t *testing.T) (env []string) {
	t.Helper()
	out, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN").Output()
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(out, &values); err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// clean removes what a document has left: sandboxes, a daemon, and files.
func (w *walk) clean(t *testing.T) {
	script := "command -v sandbox-agent >/dev/null || exit 0\nsandbox-agent daemon stop --port " + w.port + `
for dir in "$HOME"/.local/state/sandbox-agent/sandboxes/*/; do
	[ ! -d "$dir" ] || sandbox-agent sandbox rm --discard "$(basename "$dir")" || status=1
done
exit "${status:-0}"`
	if out, err := w.command(context.Background(), script).CombinedOutput(); err != nil {
		t.Errorf("clean up: %v\n%s", err, out)
	}
	if err := os.RemoveAll(w.base); err != nil {
		t.Error(err)
	}
}

func (w *walk) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Env = w.dir("work"), w.env
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run follows a document. All its blocks are one session of a shell, so that what is
// set in one is set in the next.
func (w *walk) run(name, text string) error {
	list, err := blocks(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	script := "set -euo pipefail\nset -E\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\ntrap 'echo \"@@ failed with $?: $BASH_COMMAND\" >&2' ERR\n"
	var shown []console
	for _, b := range list {
		place := fmt.Sprintf("%s:%d", name, b.line)
		if err := b.check(w.root); err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		script += fmt.Sprintf("echo '@@ %s' >&2\n", place)
		step, consoles, err := w.step(b, len(shown))
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		script += step
		for _, c := range consoles {
			c.place = place
			shown = append(shown, c)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	out, err := w.command(ctx, script).CombinedOutput()
	if err != nil {
		for _, c := range shown { // the last one that began has the reason
			if printed, err := os.ReadFile(c.output); err == nil {
				out = fmt.Appendf(out, "$ %s%s", c.command, printed)
			}
		}
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return w.compare(shown)
}

// step returns what the shell runs for a block.
func (w *walk) step(b block, shown int) (script string, consoles []console, err error) {
	text := w.local(b.text)
	switch name, isFile := strings.CutPrefix(b.how, "file="); {
	case strings.HasPrefix(b.how, "not run:"), strings.HasPrefix(b.how, "excerpt "):
		return "", nil, nil
	case isFile:
		return "mkdir -p \"$(dirname '" + name + "')\"\ncat >'" + name + "' <<'end of the block'\n" + text + "end of the block\n", nil, nil
	case b.how == "in the clone":
		return "(cd '" + w.root + "'\n" + text + ")\n", nil, nil
	}
	switch b.language {
	case "sh":
		return text, nil, nil
	case "go":
		dir := w.dir(fmt.Sprintf("go%d", b.line))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return "", nil, err
		}
		source := filepath.Join(dir, "main.go")
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return "", nil, err
		}
		return fmt.Sprintf("go build -C '%s' -o '%s/program' '%s'\n'%s/program'\n", w.root, dir, source, dir), nil, nil
	case "console":
		for _, c := range consolesOf(text) {
			c.output = w.dir(fmt.Sprintf("out/%d", shown+len(consoles)))
			script += fmt.Sprintf("exec 8>&1 9>&2 >'%s' 2>&1\n%sexec >&8 2>&9 8>&- 9>&-\n", c.output, c.command)
			consoles = append(consoles, c)
		}
	}
	return script, consoles, nil
}

var startsServer = regexp.MustCompile(`\bsandbox-agent (server|daemon (?:start|stop|status))\b`)

// local returns a text with the port of this walk.
func (w *walk) local(text string) string {
	text = startsServer.ReplaceAllString(text, "$0 --port "+w.port)
	text = strings.ReplaceAll(text, "sandbox-agent health", "sandbox-agent health --endpoint http://127.0.0.1:"+w.port)
	return strings.ReplaceAll(text, "2468", w.port)
}

// A console is a command as it is typed after a prompt, and what it prints.
type console struct {
	place   string
	command string
	shown   string
	output  string // file
}

// consolesOf returns the commands of a block. A line that begins with two blanks, or
// after a backslash, goes on with the command.
func consolesOf(text string) (list []console) {
	typing := false
	for line := range strings.Lines(text) {
		command, typed := strings.CutPrefix(line, "$ ")
		switch {
		case typed:
			list = append(list, console{command: command})
		case typing && len(list) > 0:
			list[len(list)-1].command += line
		case len(list) > 0:
			list[len(list)-1].shown += line
		}
		typing = (typed || typing) && strings.HasSuffix(line, "\\\n")
	}
	return list
}

// compare says where what was printed is not what the document shows.
func (w *walk) compare(list []console) error {
	for _, c := range list {
		if c.shown == "" {
			continue
		}
		out, err := os.ReadFile(c.output)
		if err != nil {
			return err
		}
		got := strings.NewReplacer(w.port, "2468", w.dir("work"), "/home/me").Replace(string(out))
		if !pattern(strings.ReplaceAll(c.shown, w.port, "2468")).MatchString(got) {
			return fmt.Errorf("%s: %sshows\n%s\nand prints\n%s", c.place, c.command, c.shown, got)
		}
	}
	return nil
}

// pattern is what output has to match: ids of sessions are any, a line of three dots
// is any number of lines, and three dots in a line are any text.
func pattern(shown string) *regexp.Regexp {
	text := regexp.QuoteMeta(shown)
	text = regexp.MustCompile(`(?m)^\\\.\\\.\\\.\n`).ReplaceAllString(text, "(?:.*\n)*?")
	text = strings.ReplaceAll(text, `\.\.\.`, ".*?")
	text = regexp.MustCompile(`\b[0-9a-f]{16}\b`).ReplaceAllString(text, "[0-9a-f]{16}")
	return regexp.MustCompile("^" + text + "$")
}

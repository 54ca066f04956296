package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// command runs sandbox-agent to its end and returns what it printed.
func command(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sandbox-agent", args...)
	cmd.Env, cmd.Dir = env, t.TempDir() // where sessions work that it makes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v, %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestAttach(t *testing.T) {
	env := startServer(t)
	env = append(env, "NO_COLOR=1")
	id := command(t, append(env, "USER=ann"), "sessions", "new", "--agent", "mock")
	ann := sit(t, append(env, "USER=ann"), "sessions", "attach", id)
	bob := sit(t, append(env, "USER=bob"), "sessions", "attach", id)
	ann.sees("> $")
	bob.sees("> $")

	// What one says the other sees, and each once.
	ann.types("/echo good morning\r")
	bob.sees(`> /echo good morning\S*\r\ngood morning\r\n\S*· ended`)
	ann.sees(`(?s)/echo good morning\r\n.*good morning\r\n\S*· ended`)
	if n := strings.Count(ann.text(), "/echo good morning"); n != 1 {
		t.Errorf("her own prompt is there %d times:\n%s", n, ann.text())
	}

	// Both are asked. One answers, and the other is told.
	ann.types("run touch ran.txt\r")
	ann.sees(`Allow .*touch ran.txt.*\[y\]es, \[a\]lways, \[n\]o: `)
	bob.sees(`Allow .*touch ran.txt`)
	bob.types("y\r")
	ann.sees("allowed once by bob")
	ann.sees(`(?s)by bob.*· ended.*> $`)
	bob.sees(`(?s)by bob.*· ended.*> $`)

	// What one asks for meanwhile waits. Ctrl-C ends all of it, and not the view.
	bob.types("/silence\r")
	bob.sees(`/silence\r\n`)
	ann.sees("> /silence")
	ann.types("/echo later\r")
	bob.sees("· next: /echo later")
	bob.types("\x03")
	ann.sees(`(?s)· dropped: /echo later.*· cancelled`)
	bob.sees(`(?s)· cancelled.*> $`)

	// Ctrl-D detaches. The session stays, and tells those who come what was.
	bob.types("\x04")
	bob.sees("come back with: sandbox-agent sessions attach " + id)
	if code := bob.leaves(); code != 0 {
		t.Errorf("detached with exit code %d", code)
	}
	again := sit(t, env, "sessions", "attach", id)
	again.sees(`(?s)good morning.*by bob.*· cancelled.*> $`)
	again.types("\x03")
	if code := again.leaves(); code != 130 {
		t.Errorf("interrupted with exit code %d", code)
	}
	ann.types("/echo still here\r")
	ann.sees(`(?s)still here\r\n.*still here\r\n\S*· ended`)
}

// Whatever is typed while a session is attached is a reply, a prompt, or refused.
func TestAttachEatsNoLine(t *testing.T) {
	env := append(startServer(t), "NO_COLOR=1")
	id := command(t, env, "sessions", "new", "--agent", "mock")
	ann := sit(t, append(env, "USER=ann"), "sessions", "attach", id)
	bob := sit(t, append(env, "USER=bob"), "sessions", "attach", id)
	ann.sees("> $")
	bob.sees("> $")

	// A word that is typed while the agent works answers nothing that comes later.
	bob.types("/silence\r")
	ann.sees("> /silence")
	ann.types("y\r")
	ann.sees(`discarded "y", which was no reply, as no permission request waits`)
	bob.types("\x03")
	ann.sees(`· cancelled(?s).*> $`)
	bob.sees(`· cancelled(?s).*> $`)

	// Nor does one that is begun before the request is there.
	ann.types("al")
	ann.sees(`> al$`)
	bob.types("run touch early.txt\r")
	ann.sees(`Allow .*touch early.txt`)
	ann.types("ways\r")
	ann.sees(`discarded "always", which was typed before the request was shown(?s).*Allow .*touch early.txt.*: $`)

	// Other lines are kept, a word that is offered to nobody is not.
	ann.types("and /echo then this\r")
	ann.sees(`kept "and /echo then this" as the next prompt(?s).*Allow .*touch early.txt.*: $`)
	bob.sees(`· next: and /echo then this(?s).*Allow .*touch early.txt.*: $`)
	ann.types("/echo pasted\ry\r")
	ann.sees(`(?s)kept "/echo pasted" as the next prompt.*discarded "y", which was pasted with other lines.*Allow .*touch early.txt.*: $`)

	// Who comes too late is told, and grants nothing.
	ann.types("ye")
	bob.types("n\r")
	ann.sees(`(?s)rejected by bob.*You said: and /echo then this.*pasted\r\n.*> $`)
	ann.types("s\r")
	ann.sees(`discarded "yes", which was too late, as the permission request was resolved before`)
	ann.types("yes\r")
	ann.sees(`You said: yes`)

	// The end of the input is no reply either.
	ann.types("run touch late.txt\r")
	ann.sees(`Allow .*touch late.txt`)
	ann.types("\x04")
	ann.sees("come back with")
	if code := ann.leaves(); code != 0 {
		t.Errorf("detached with exit code %d", code)
	}
	bob.sees(`Allow .*touch late.txt`)
	bob.types("n\r")
	bob.sees(`(?s)rejected by bob.*rejected by bob`)
	for _, name := range []string{"early.txt", "late.txt"} {
		if _, err := os.Stat(filepath.Join(home(env), name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made: %v", name, err)
		}
	}
}

// What a list shows of an id can be typed, however narrow the terminal is.
func TestSessionsAreListedInANarrowTerminal(t *testing.T) {
	env := append(startServer(t), "NO_COLOR=1")
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = command(t, env, "sessions", "new", "--agent", "mock", "--title", strings.Repeat("a long title ", 20))
	}
	p := sitAt(t, 60, env, "sessions", "ls")
	if code := p.leaves(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	<-p.done
	lines := strings.Split(strings.TrimSpace(p.text()), "\r\n")
	if len(lines) != len(ids)+1 {
		t.Fatalf("%d lines:\n%s", len(lines), p.text())
	}
	for i, line := range lines {
		if len([]rune(line)) > 60 {
			t.Errorf("%q is too long", line)
		}
		if i == 0 {
			continue
		}
		shown, _, _ := strings.Cut(line, " ")
		if got := command(t, env, "sessions", "show", shown); !slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(got, id) }) {
			t.Errorf("%q shows\n%s", shown, got)
		}
	}
}

// home is the home of an environment.
func home(env []string) string {
	for _, kv := range env {
		if dir, ok := strings.CutPrefix(kv, "HOME="); ok {
			return dir
		}
	}
	return ""
}

package cli_test

import (
	"os/exec"
	"strings"
	"testing"
)

// command runs sandbox-agent to its end and returns what it printed.
func command(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sandbox-agent", args...)
	cmd.Env = env
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

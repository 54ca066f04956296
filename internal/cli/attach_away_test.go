package cli_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What is typed while the server is away reaches it once, when it is back.
func TestAttachWaitsForItsServer(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TERM=xterm", "NO_COLOR=1", "SHELL=/bin/sh", "GORACE=" + noRaceSleep}
	var server *exec.Cmd
	start := func() (endpoint string) {
		server, endpoint = serveAt(t, env, port)
		return endpoint
	}
	kill := func() {
		server.Process.Kill()
		server.Wait()
	}
	env = append(env, "SANDBOX_AGENT_ENDPOINT="+start())
	defer func() { kill() }()
	id := command(t, env, "sessions", "new", "--agent", "mock")
	p := sit(t, env, "sessions", "attach", id)
	p.sees("> $")
	p.types("/echo first\r")
	p.sees(`(?s)/echo first.*first\r\n.*> $`)

	kill()
	p.sees(`lost the server, waiting for it: .*connection refused`)
	p.types("/echo second\r")
	p.sees(`kept "/echo second" until the server answers`)
	p.types("yes\r")
	p.sees(`discarded "yes", which was no reply, as the server does not answer`)
	p.types("/echo third\r")
	p.sees(`kept "/echo third" until`)
	start()
	p.sees(`(?s)the server is back.*second\r\n.*third\r\n.*> $`)

	// A permission request that waits is void then, and what was typed for it too.
	p.types("run touch ran.txt\r")
	p.sees(`Allow .*touch ran.txt`)
	kill()
	p.sees(`(?s)touch ran.txt.*lost the server`)
	p.types("y\r")
	p.sees(`discarded "y", which was no reply, as the server does not answer`)
	start()
	p.sees(`(?s)discarded "y".*the server is back.*> $`)
	p.types("/echo last\r")
	p.sees(`(?s)/echo last\r\n.*last\r\n`)

	// To leave is possible all the time, and says what is lost.
	kill()
	p.sees(`(?s)/echo last\r\n.*last\r\n.*lost the server`)
	p.types("/echo never\r")
	p.sees(`kept "/echo never"`)
	p.types("\x03")
	p.sees(`not sent, as the server did not answer: /echo never`)
	if code := p.leaves(); code != 130 {
		t.Errorf("interrupted with exit code %d", code)
	}
	start()
	said := command(t, env, "sessions", "show", "--transcript", id)
	for _, word := range []string{"first", "second", "third", "last"} {
		if n := strings.Count(said, "/echo "+word); n != 1 {
			t.Errorf("%q was said %d times:\n%s", word, n, said)
		}
	}
	if strings.Contains(said, "never") {
		t.Errorf("what was never sent is there:\n%s", said)
	}
}

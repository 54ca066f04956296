package child

import (
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func sh(script string) Spec {
	return Spec{Path: "/bin/sh", Args: []string{"-c", script}}
}

func start(t *testing.T, spec Spec) *Child {
	t.Helper()
	c, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(0); err != nil {
			t.Error(err)
		}
		c.CloseStreams()
	})
	return c
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// eventually waits for a condition.
var eventually = testkit.Await

func pidOf(t *testing.T, text string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// readLine reads up to the end of a line, byte by byte, so that nothing is lost.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("read line after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func TestChildStreams(t *testing.T) {
	spec := sh(`read line; echo "out $line $VAR $(pwd)"; echo err >&2; exit 3`)
	spec.Stdin, spec.Dir, spec.Env = true, "/", []string{"VAR=first", "VAR=value", "PATH=/bin:/usr/bin"}
	c := start(t, spec)
	if _, err := io.WriteString(c.Stdin, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c.Stdout); got != "out hello value /\n" {
		t.Errorf("stdout = %q", got)
	}
	if got := readAll(t, c.Stderr); got != "err\n" {
		t.Errorf("stderr = %q", got)
	}
	<-c.Done()
	if exit := c.Exit(); exit.Code == nil || *exit.Code != 3 || exit.Signal != "" {
		t.Errorf("exit = %+v", exit)
	}
	if err := c.Signal(syscall.SIGTERM); err != os.ErrProcessDone {
		t.Errorf("signal after the end: %v", err)
	}
}

// TestUnread ends a shell, which reads its input byte by byte, in the middle.
func TestUnread(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		ended  bool // its input was
		unread int
		known  bool
	}{
		"all is read":        {`read a; read b; kill -9 $$`, false, 0, true},
		"half is read":       {`read a; kill -9 $$`, false, 4, true},
		"input has ended":    {`read a; read b; read c; kill -9 $$`, true, 0, false},
		"another may read":   {`exec 3<&0; sleep 600 <&3 & read a; kill -9 $$`, false, 0, false},
		"ended in good time": {`read a; exit 0`, false, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := sh(test.script)
			spec.Stdin = true
			c := start(t, spec)
			if _, err := io.WriteString(c.Stdin, "one\ntwo\n"); err != nil {
				t.Fatal(err)
			}
			if test.ended {
				if err := c.Stdin.Close(); err != nil {
					t.Fatal(err)
				}
			}
			<-c.Done()
			if n, known := c.Unread(); n != test.unread || known != test.known {
				t.Errorf("unread = %d, %t", n, known)
			}
		})
	}
}

func TestStartFindsPrograms(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/tool", []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/data", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := start(t, Spec{Path: "tool", Env: []string{"PATH=relative::" + dir}})
	if got := readAll(t, c.Stdout); got != "tool\n" {
		t.Errorf("stdout = %q", got)
	}
	for _, path := range []string{"", "data", "missing", dir + "/data", dir + "/missing"} {
		if _, err := Start(Spec{Path: path, Env: []string{"PATH=" + dir}}); err == nil {
			t.Errorf("started %q", path)
		}
	}
	for _, env := range [][]string{{}, {"PATH="}, {"HOME=/"}, {"PATH=" + dir, "PATH="}} {
		c := start(t, Spec{Path: "sh", Args: []string{"-c", "echo found"}, Env: env})
		if got := readAll(t, c.Stdout); got != "found\n" {
			t.Errorf("with %q stdout = %q", env, got)
		}
	}
	if _, err := Start(Spec{Path: "/bin/true", Dir: dir + "/missing"}); err == nil {
		t.Error("started in a folder that is not there")
	}
}

func TestChildExitSignal(t *testing.T) {
	c := start(t, sh(`kill -KILL $$`))
	<-c.Done()
	if exit := c.Exit(); exit.Code != nil || exit.Signal != "SIGKILL" {
		t.Errorf("exit = %+v", exit)
	}
}

func TestStopAsksFirst(t *testing.T) {
	t.Run("end of input", func(t *testing.T) {
		spec := sh(`cat; echo bye`)
		spec.Stdin = true
		c := start(t, spec)
		if err := c.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, c.Stdout); got != "bye\n" {
			t.Errorf("stdout = %q", got)
		}
	})
	t.Run("SIGTERM", func(t *testing.T) {
		c := start(t, sh(`trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done`))
		readLine(t, c.Stdout)
		if err := c.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, c.Stdout); got != "bye\n" {
			t.Errorf("stdout = %q", got)
		}
		if exit := c.Exit(); exit.Code == nil || *exit.Code != 7 {
			t.Errorf("exit = %+v", exit)
		}
	})
	t.Run("stopped process", func(t *testing.T) {
		c := start(t, sh(`kill -STOP $$; sleep 1000`))
		if err := c.Stop(time.Minute); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("SIGKILL", func(t *testing.T) {
		c := start(t, sh(`trap '' TERM HUP; echo ready; while :; do sleep 1000; done`))
		readLine(t, c.Stdout)
		if err := c.Stop(20 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if exit := c.Exit(); exit.Signal != "SIGKILL" {
			t.Errorf("exit = %+v", exit)
		}
	})
}

func TestStopReachesEverybody(t *testing.T) {
	tests := map[string]string{
		"background":      `sleep 1000 & echo $!; wait`,
		"job control":     `set -m; sleep 1000 & echo $!; wait`,
		"own session":     `setsid sleep 1000 & echo $!; wait`,
		"ignores signals": `sh -c 'trap "" TERM HUP INT; sleep 1000' & echo $!; wait`,
		"left behind":     `sleep 1000 & echo $!`,
		"left behind job": `set -m; sleep 1000 & echo $!`,
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			c := start(t, sh(script))
			pid := pidOf(t, readLine(t, c.Stdout))
			if strings.HasPrefix(name, "left") {
				<-c.Done()
			}
			if !alive(pid) {
				t.Fatal("grandchild ended by itself")
			}
			if err := c.Stop(10 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			eventually(t, "grandchild is gone", func() bool { return !alive(pid) })
			readAll(t, c.Stdout)
		})
	}
}

func TestOutputEndsWhileDescendantHoldsIt(t *testing.T) {
	spec := sh(`sleep 1000 & echo done`)
	spec.Drain = time.Millisecond
	c := start(t, spec)
	<-c.Done()
	if got := readAll(t, c.Stdout); got != "done\n" {
		t.Errorf("stdout = %q", got)
	}
}

func TestOutputIsWholeForSlowReader(t *testing.T) {
	spec := sh(`head -c 60000 /dev/zero`)
	spec.Drain = time.Nanosecond
	c := start(t, spec)
	<-c.Done()
	if got := readAll(t, c.Stdout); len(got) != 60000 {
		t.Errorf("read %d bytes", len(got))
	}
}

func TestTerminal(t *testing.T) {
	spec := sh(`test -t 0 && test -t 1 && test -t 2 && stty size; cat`)
	spec.TTY = &Size{Cols: 80, Rows: 24}
	c := start(t, spec)
	if got := readLine(t, c.Stdout); got != "24 80\r" {
		t.Errorf("size = %q", got)
	}
	if _, err := io.WriteString(c.Stdin, "hi\n\x04"); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c.Stdout); got != "hi\r\nhi\r\n" {
		t.Errorf("output = %q", got)
	}
	<-c.Done()
	if exit := c.Exit(); exit.Code == nil || *exit.Code != 0 {
		t.Errorf("exit = %+v", exit)
	}
}

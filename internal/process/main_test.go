package process

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func TestMain(m *testing.M) {
	if os.Getenv(ignoredEnv) != "" {
		os.Exit(m.Run()) // a part of the tests, under other conditions
	}
	goleak.VerifyTestMain(m)
}

// ignoredEnv marks the run of TestSignals within TestIgnoredSignals.
const ignoredEnv = "PROCESS_TEST_IGNORED"

// TestIgnoredSignals repeats TestSignals in a program that was started to ignore
// SIGHUP and SIGINT.
func TestIgnoredSignals(t *testing.T) {
	if os.Getenv(ignoredEnv) != "" {
		t.Fatal("not meant to be nested")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := child.Start(child.Spec{
		Path: "/bin/sh",
		Args: []string{"-c", `trap '' HUP INT; exec "$0" -test.run '^TestSignals$' 2>&1`, exe},
		Env:  append(os.Environ(), ignoredEnv+"=1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(c.Stdout)
	if <-c.Done(); err != nil || c.Exit().Code == nil || *c.Exit().Code != 0 {
		t.Errorf("%s: %v\n%s", c.Exit(), err, out)
	}
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

// alive reports whether a process runs and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, found := strings.Cut(string(stat), ") ")
	return err == nil && found && !strings.HasPrefix(state, "Z")
}

package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/internal/cli"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// TestMain makes the test binary the sandbox-agent program when it is started as
// one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"server", "mock", "shim"}, os.Args[1]) {
		os.Exit(cli.Main(cli.System()))
	}
	os.Exit(m.Run())
}

func TestTour(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	var out strings.Builder
	err := tour(ctx, &out,
		sandboxagent.WithLocal(local.Config{StateDir: t.TempDir(), Binary: os.Args[0], Env: append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+t.TempDir())}),
		sandboxagent.WithSpec(provider.Spec{Workspace: provider.Workspace{Dir: dir}, Bound: true}))
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	const want = `uploaded 3 paths
the agent asks to edit
the agent says: I wrote README.md.
the turn ended with end_turn
session tour is idle
wc counts 2 lines
the terminal shows 24 80
found README.md
found go.mod
found main.go
`
	if out.String() != want {
		t.Errorf("the tour says\n%s\nwant\n%s", &out, want)
	}
}

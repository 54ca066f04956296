package sandboxagent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/embedded"
	"github.com/sandboxagent/sandboxagent/internal/cli"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// TestMain makes the test binary the sandbox-agent program when it is started
// as one: by Start, and by a server that runs the mock agent.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"server", "mock", "shim"}, os.Args[1]) {
		os.Exit(cli.Main(cli.System()))
	}
	if dir := os.Getenv(starterDir); dir != "" {
		startAndWait(dir)
	}
	goleak.VerifyTestMain(tests{m})
}

// starterDir is the variable that makes the test binary a program that starts a
// sandbox in a directory, prints its id, and waits to be killed.
const starterDir = "SANDBOX_AGENT_TEST_STARTER"

func startAndWait(dir string) {
	sandbox, err := sandboxagent.Start(context.Background(), localIn(dir)...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(sandbox.ID())
	select {}
}

// localIn are the options of a local sandbox that has all it keeps, and works, in a
// directory, and ends with this program.
func localIn(dir string) []sandboxagent.StartOption {
	return []sandboxagent.StartOption{
		sandboxagent.WithLocal(local.Config{
			StateDir: dir, Binary: os.Args[0],
			Env: append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+filepath.Join(dir, "data")),
		}),
		sandboxagent.WithSpec(provider.Spec{Workspace: provider.Workspace{Dir: dir}, Bound: true}),
	}
}

// testContext ends before the test binary would.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// testServer is a real server with the real mock agent in a folder of its own.
type testServer struct {
	*embedded.Server
	dir string // where sessions work
}

func newServer(t testing.TB, opts ...sandboxagent.Option) *testServer {
	t.Helper()
	return newLimitedServer(t, api.Limits{}, opts...)
}

func newLimitedServer(t testing.TB, limits api.Limits, opts ...sandboxagent.Option) *testServer {
	t.Helper()
	home := t.TempDir()
	dir := filepath.Join(home, "work")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(testContext(t), embedded.Options{
		DataDir: filepath.Join(home, "data"), Home: home, Dir: dir,
		Env:    append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home),
		Limits: limits,
		Client: append([]sandboxagent.Option{withWatch()}, opts...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
	})
	return &testServer{s, dir}
}

package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/embedded"
)

// withoutMain is the variable that makes the test binary a program that forgot
// to call Main.
const withoutMain = "SANDBOX_AGENT_TEST_WITHOUT_MAIN"

// TestMain makes the test binary the mock agent when the server runs it as one.
func TestMain(m *testing.M) {
	if os.Getenv(withoutMain) != "" {
		_, err := embedded.Start(context.Background(), embedded.Options{})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	embedded.Main()
	goleak.VerifyTestMain(m)
}

// A program that is its own mock agent without knowing must not start itself
// for ever.
func TestStartWithoutMain(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	home := t.TempDir()
	server, err := embedded.Start(ctx, embedded.Options{Home: home, Dir: home, Env: append(os.Environ(), withoutMain+"=1", "HOME="+home, "XDG_DATA_HOME="+home)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	_, err = server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err == nil || !strings.Contains(err.Error(), "embedded.Main()") {
		t.Errorf("got %v", err)
	}
}

func ExampleStart() {
	// The main function of the program begins with embedded.Main().
	ctx := context.Background()
	home, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)
	server, err := embedded.Start(ctx, embedded.Options{
		Home: home,
		Env:  append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo hello"))
	fmt.Println(turn.Text, err)
	// Output: hello <nil>
}

func TestStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	home := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	opts := embedded.Options{Home: home, Dir: home, Env: append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home)}
	first, err := embedded.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := embedded.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	stranger := sandboxagent.New(first.BaseURL())
	defer stranger.Close()
	if _, err := stranger.Health(ctx); !errors.Is(err, sandboxagent.ErrUnauthorized) {
		t.Errorf("without token: %v", err)
	}
	session, err := first.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock", OnPermission: sandboxagent.AllowAll})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(home, "hello.txt")); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := first.Health(ctx); err == nil {
		t.Error("server answers after Close")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary folder has %v, %v", left, err)
	}
}

func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(context.Background(), embedded.Options{DataDir: filepath.Join(file, "x"), Home: "/"}); err == nil {
		t.Error("no error")
	}
}

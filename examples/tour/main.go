// Tour is a program that uses all that the SDK is about: it starts a server on this
// machine, gives an agent a task, replies to its permission requests, and works on
// the files, processes and terminals around it.
//
//	go run ./examples/tour
//
// It needs the program sandbox-agent on PATH, or its path in SANDBOX_AGENT_BIN.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"testing/fstest"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := tour(ctx, os.Stdout, sandboxagent.WithClient(sandboxagent.FromEnv()))
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

// tour writes what it does to out.
func tour(ctx context.Context, out io.Writer, opts ...sandboxagent.StartOption) (err error) {
	sandbox, err := sandboxagent.Start(ctx, opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sandbox.Close()) }()
	for _, step := range []func(context.Context, io.Writer, *sandboxagent.Client) error{upload, session, process, terminal, walk} {
		if err := step(ctx, out, sandbox.Client); err != nil {
			return err
		}
	}
	return nil
}

// upload brings a tree of files into the sandbox.
func upload(ctx context.Context, out io.Writer, client *sandboxagent.Client) error {
	tree := fstest.MapFS{ // or os.DirFS, or an embed.FS
		"project/go.mod":  {Data: []byte("module example.org/hello\n")},
		"project/main.go": {Data: []byte("package main\n\nfunc main() {}\n")},
	}
	result, err := client.Upload(ctx, ".", tree)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "uploaded", len(result.Paths), "paths")
	return nil
}

// session gives an agent a task and replies to what it asks.
func session(ctx context.Context, out io.Writer, client *sandboxagent.Client) error {
	session, err := client.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock", CWD: "project", Title: "tour"})
	if err != nil {
		return err
	}
	var said strings.Builder
	for update, err := range session.Stream(ctx, sandboxagent.Text("add a README that says hello")) {
		if err != nil {
			return err
		}
		switch update.Kind {
		case acp.UpdateAgentMessage:
			said.WriteString(update.Content.Text)
		case sandboxagent.UpdatePermission:
			fmt.Fprintln(out, "the agent asks to", update.Permission.ToolCall.Kind)
			if _, err := session.Reply(ctx, update.Permission.ID, sandboxagent.Once); err != nil {
				return err
			}
		case sandboxagent.UpdateTurnEnd:
			fmt.Fprintln(out, "the agent says:", said.String())
			fmt.Fprintln(out, "the turn ended with", update.Turn.StopReason)
		}
	}
	// The session stays: another program goes on with it by its id.
	for info, err := range client.Sessions(ctx, sandboxagent.SessionFilter{Text: "tour"}) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "session", info.Title, "is", info.Status)
	}
	return nil
}

// process runs a program to its end, as os/exec does.
func process(ctx context.Context, out io.Writer, client *sandboxagent.Client) error {
	cmd := client.Command(ctx, "wc", "-l")
	cmd.Stdin = strings.NewReader("one\ntwo\n")
	lines, err := cmd.Output()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "wc counts", strings.TrimSpace(string(lines)), "lines")
	return nil
}

// terminal runs a program that wants a terminal, and types into it, and reads what it shows.
func terminal(ctx context.Context, out io.Writer, client *sandboxagent.Client) error {
	request := api.ProcessCreateRequest{Command: "sh", Args: []string{"-c", "read line; stty size"}}
	term, err := client.StartTerminal(ctx, request, sandboxagent.TerminalOptions{Cols: 80, Rows: 24})
	if err != nil {
		return err
	}
	defer term.Close()
	if _, err := term.Write([]byte("go on\n")); err != nil {
		return err
	}
	shown, err := io.ReadAll(term) // the line that was typed, and the size
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(shown)), "\n")
	fmt.Fprintln(out, "the terminal shows", lines[len(lines)-1])
	return nil
}

// walk reads a tree of the sandbox as any file system of Go.
func walk(ctx context.Context, out io.Writer, client *sandboxagent.Client) error {
	return fs.WalkDir(client.FS(ctx, "project"), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Fprintln(out, "found", path)
		}
		return err
	})
}

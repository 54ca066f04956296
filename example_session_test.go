package sandboxagent_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func ExampleClient_Sessions() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock", Title: "greeting"})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo hello"))
	fmt.Println(turn.Text, err)

	// Another client, or this one after a restart, finds it again.
	for info, err := range server.Sessions(ctx, sandboxagent.SessionFilter{Text: "greet"}) {
		fmt.Println(info.Title, info.Status, err)
	}
	// Output:
	// hello <nil>
	// greeting idle <nil>
}

func ExampleClient_ResumeOrCreateSession() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	for range 2 { // the first time it creates
		session, err := server.ResumeOrCreateSession(ctx, sandboxagent.SessionOptions{ID: "nightly", Agent: "mock"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(session.ID)
	}
	// Output:
	// nightly
	// nightly
}

func ExampleSession_Events() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	started, err := session.PromptAsync(ctx, sandboxagent.Text("/echo hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range session.Events(ctx, started.FirstEvent-1) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if said, ok := e.Prompt(); ok {
			fmt.Println("user:", said.Text())
		}
		if u, ok := e.Update(); ok && u.Kind == acp.UpdateAgentMessage {
			fmt.Println("agent:", u.Content.Text)
			break
		}
	}
	// Output:
	// user: /echo hello
	// agent: hello
}

// The policy decides on the server, also while no client is there.
func ExampleSessionOptions() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent: "mock",
		Permissions: api.PermissionPolicy{
			Default: api.DefaultDecision(api.DecideReject),
			Rules:   []api.PermissionRule{{Kind: acp.ToolEdit, Path: "*.txt", Decision: api.DecideAllow}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	_, err = server.Stat(ctx, "hello.txt")
	fmt.Println(err)
	// Output: <nil>
}

// The handler replies while a prompt runs.
func ExampleSession_OnPermission() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.OnPermission(func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
		fmt.Println("asked to", p.ToolCall.Kind)
		return sandboxagent.Once, nil
	})
	turn, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	fmt.Println(turn.StopReason, err)
	// Output:
	// asked to edit
	// end_turn <nil>
}

// One program starts the turn, another one replies.
func ExampleSession_ServePermissions() {
	server, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- server.Session(session.ID).ServePermissions(ctx, sandboxagent.AllowAll) }()
	turn, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	fmt.Println(turn.StopReason, err)
	cancel()
	fmt.Println(<-served)
	// Output:
	// end_turn <nil>
	// <nil>
}

// Sessions move to another server while both run.
func ExampleClient_ImportSessions() {
	server, stop := exampleServer()
	defer stop()
	other, stopOther := exampleServer()
	defer stopOther()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock", ID: "moves"})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("/echo hello"))

	file := new(bytes.Buffer)
	written, err := server.ExportSessions(ctx, file, "moves")
	fmt.Println(written.Sessions, err)
	read, err := other.ImportSessions(ctx, file, sandboxagent.ImportOptions{})
	fmt.Println(read.Sessions, err)

	turn, err := other.Session("moves").Prompt(ctx, sandboxagent.Text("/echo and on"))
	fmt.Println(turn.Text, err)
	// Output:
	// 1 <nil>
	// [moves] <nil>
	// and on <nil>
}

package sandboxagent_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/memory"
)

func ExampleClient_Sessions() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{Agent: "mock", Title: "greeting"})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo hello"))
	fmt.Println(turn.Text, err)

	// Another client, or this one after a restart, finds it again.
	for info, err := range server.Sessions().All(ctx, sandboxagent.SessionFilter{Text: "greet"}) {
		fmt.Println(info.Title, info.Status, err)
	}
	// Output:
	// hello <nil>
	// greeting idle <nil>
}

func ExampleSessions_ResumeOrCreate() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	for range 2 { // the first time it creates
		session, err := server.Sessions().ResumeOrCreate(ctx, api.SessionCreateRequest{ID: "nightly", Agent: "mock"})
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

func ExampleServerSession_Events() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{Agent: "mock"})
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

func ExampleServerSession_PromptStream() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{
		Agent:       "mock",
		Permissions: &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	calls := 0
	for e, err := range session.PromptStream(ctx, sandboxagent.Text("create a file called hello.txt")) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if u, ok := e.Update(); ok && u.Kind == acp.UpdateToolCall {
			calls++
		}
		if e.Turn != nil {
			fmt.Println(e.Turn.StopReason, calls > 0)
		}
	}
	// Output: end_turn true
}

func ExampleServerSession_OnPermission() {
	server, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	answered := make(chan error)
	go func() {
		answered <- session.OnPermission(ctx, func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
			fmt.Println("asked to", p.ToolCall.Kind)
			return sandboxagent.Once, nil
		})
	}()
	turn, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	fmt.Println(turn.StopReason, err)
	cancel()
	fmt.Println(<-answered)
	// Output:
	// asked to edit
	// end_turn <nil>
	// <nil>
}

// Sessions move to another server while both run.
func ExampleSessions_Import() {
	server, stop := exampleServer()
	defer stop()
	other, stopOther := exampleServer()
	defer stopOther()
	ctx := context.Background()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{Agent: "mock", ID: "moves"})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("/echo hello"))

	file := new(bytes.Buffer)
	written, err := server.Sessions().Export(ctx, file, "moves")
	fmt.Println(written.Sessions, err)
	read, err := other.Sessions().Import(ctx, file)
	fmt.Println(read.Sessions, err)

	turn, err := other.Sessions().Session("moves").Prompt(ctx, sandboxagent.Text("/echo and on"))
	fmt.Println(turn.Text, err)
	// Output:
	// 1 <nil>
	// [moves] <nil>
	// and on <nil>
}

func ExampleServerSession_Copy() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.Sessions().Create(ctx, api.SessionCreateRequest{Agent: "mock", Title: "kept"})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("/echo hello"))

	records := memory.New(memory.Options{}) // or those of store/file, store/sqlite, store/postgres
	fmt.Println(session.Copy(ctx, records))
	kept, err := records.Session(ctx, session.ID)
	fmt.Println(kept.Title, err)
	events, err := records.Events(ctx, session.ID, 0, 1)
	fmt.Println(events[0].EventIndex, err)
	// Output:
	// <nil>
	// kept <nil>
	// 1 <nil>
}

package sandboxagent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/embedded"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// exampleServer runs a server for an example, in a folder of its own.
func exampleServer() (server *embedded.Server, stop func()) {
	home, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	server, err = embedded.Start(context.Background(), embedded.Options{
		Home: home, Dir: home, DataDir: filepath.Join(home, "data"),
		Env:    append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home),
		Client: []sandboxagent.Option{withWatch()},
	})
	if err != nil {
		panic(err)
	}
	return server, func() {
		server.Close()
		os.RemoveAll(home)
	}
}

func Example() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()

	// Elsewhere: client, err := sandboxagent.Connect(ctx, "http://127.0.0.1:2468")
	client := server.Client
	session, err := client.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent:        "mock",
		OnPermission: sandboxagent.AllowAll,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Stat(ctx, "hello.txt")
	fmt.Println(turn.StopReason, err == nil)
	// Output: end_turn true
}

func ExampleNew() {
	client := sandboxagent.New("http://127.0.0.1:2468", sandboxagent.WithToken("secret"))
	defer client.Close()
	fmt.Println(client.InspectorURL())
	// Output: http://127.0.0.1:2468/ui/
}

func ExampleConnect() {
	server, stop := exampleServer()
	defer stop()
	_, err := sandboxagent.Connect(context.Background(), server.BaseURL(), sandboxagent.WithToken("wrong"))
	fmt.Println(errors.Is(err, sandboxagent.ErrUnauthorized))
	// Output: true
}

func ExampleStart() {
	home, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)
	sandbox, err := sandboxagent.Start(context.Background(),
		// The program is the sandbox-agent of PATH where none is named.
		sandboxagent.WithLocal(local.Config{Binary: os.Args[0], StateDir: home, Env: append(os.Environ(), "HOME="+home)}),
		sandboxagent.WithSpec(provider.Spec{Workspace: provider.Workspace{Dir: home}, Bound: true}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sandbox.Close()
	result, err := sandbox.Exec(context.Background(), "echo", "hello")
	fmt.Print(result.Stdout, err)
	// Output:
	// hello
	// <nil>
}

func ExampleClient_Health() {
	server, stop := exampleServer()
	defer stop()
	health, err := server.Health(context.Background())
	fmt.Println(health.Status, err)
	// Output: ok <nil>
}

func ExampleClient_Agents() {
	server, stop := exampleServer()
	defer stop()
	list, err := server.Agents(context.Background(), sandboxagent.AgentsOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, agent := range list {
		if agent.ID == "mock" || agent.ID == "claude" {
			fmt.Println(agent.ID, agent.Name)
		}
	}
	// Output:
	// claude Claude Code
	// mock Mock
}

func ExampleClient_Agent() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	agent, err := server.Agent(ctx, "mock", sandboxagent.AgentsOptions{Config: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(agent.Installed, agent.Version)
	_, err = server.Agent(ctx, "nobody", sandboxagent.AgentsOptions{})
	fmt.Println(errors.Is(err, sandboxagent.ErrUnsupportedAgent))
	// Output:
	// true builtin
	// true
}

func ExampleClient_InstallAgent() {
	server, stop := exampleServer()
	defer stop()
	result, err := server.InstallAgent(context.Background(), "mock", sandboxagent.InstallAgentOptions{
		OnProgress: func(step api.AgentInstallEvent) { fmt.Println(step.Phase, step.Message) },
	})
	if err != nil {
		fmt.Println(err) // says which source could not be reached, and what to do
		return
	}
	for _, artifact := range result.Artifacts {
		fmt.Println(artifact.Kind, *artifact.Version)
	}
	// Output: agent_process builtin
}

func ExampleClient_CreateSession() {
	server, stop := exampleServer()
	defer stop()
	session, err := server.CreateSession(context.Background(), sandboxagent.SessionOptions{
		Agent:        "mock",
		Model:        "mock-fast",
		Mode:         "plan",
		ThoughtLevel: "high",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	options, err := session.ConfigOptions(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, option := range options {
		fmt.Println(option.ID, option.CurrentValue)
	}
	// Unordered output:
	// model mock-fast
	// mode plan
	// thought_level high
}

func ExampleSession_Prompt() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo hello"))
	fmt.Println(turn.Text, turn.StopReason, err)
	// Output: hello end_turn <nil>
}

// A prompt may be of several blocks.
func ExampleSession_Prompt_blocks() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := session.Prompt(ctx,
		sandboxagent.Text("what is this?"),
		sandboxagent.ResourceLink("file:///workspace/notes.txt", "notes.txt"),
		sandboxagent.Resource("file:///workspace/todo.txt", "text/plain", "look at it"),
		sandboxagent.Image([]byte{0x89, 'P', 'N', 'G'}, "image/png"),
		sandboxagent.Audio([]byte("RIFF"), "audio/wav"),
	)
	fmt.Println(turn.StopReason, err)
	// Output: end_turn <nil>
}

// The end of the context leaves the turn to the server; Cancel ends it.
func ExampleSession_Prompt_context() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = session.Prompt(short, sandboxagent.Text("/silence"))
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	_, err = session.Cancel(ctx)
	fmt.Println(err)
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo still there"))
	fmt.Println(turn.Text, err)
	// Output:
	// true
	// <nil>
	// still there <nil>
}

func ExampleSession_Stream() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for update, err := range session.Stream(ctx, sandboxagent.Text("/permission")) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch update.Kind {
		case acp.UpdateAgentMessage:
			// update.Content.Text is what the agent says.
		case sandboxagent.UpdatePermission:
			fmt.Println("asked, with replies", update.Permission.AvailableReplies)
			session.Reply(ctx, update.Permission.ID, sandboxagent.Reject)
		case sandboxagent.UpdateTurnEnd:
			fmt.Println("ended with", update.Turn.StopReason)
		}
	}
	// Output:
	// asked, with replies [once reject cancel]
	// ended with end_turn
}

func ExampleSession_Cancel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cancelled := false
	for update, err := range session.Stream(ctx, sandboxagent.Text("/burst 1000000")) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if update.Turn != nil {
			fmt.Println(update.Turn.StopReason)
		}
		if !cancelled {
			cancelled = true
			session.Cancel(ctx)
		}
	}
	// Output: cancelled
}

func ExampleSession_SetModel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.SetModel(ctx, "mock-fast"))
	var unsupported *sandboxagent.UnsupportedValueError
	if errors.As(session.SetModel(ctx, "gpt-0"), &unsupported) {
		fmt.Println(unsupported.Allowed)
	}
	// Output:
	// <nil>
	// [mock mock-fast]
}

func ExampleSession_SetMode() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = session.SetMode(ctx, "plan")
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := session.Info(ctx)
	fmt.Println(info.Mode, err)
	// Output: plan <nil>
}

func ExampleSession_SetThoughtLevel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.SetThoughtLevel(ctx, "low"))
	// Output: <nil>
}

func ExampleSession_SetConfigOption() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = session.SetConfigOption(ctx, "no-such-option", "on")
	fmt.Println(errors.Is(err, sandboxagent.ErrUnsupported))
	// Output: true
}

func ExampleAllowKinds() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent:        "mock",
		OnPermission: sandboxagent.AllowKinds(acp.ToolRead, acp.ToolSearch),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	_, err = server.Stat(ctx, "hello.txt")
	fmt.Println("not written:", errors.Is(err, fs.ErrNotExist))
	// Output: not written: true
}

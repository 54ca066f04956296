package sandboxagent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/embedded"
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
	session, err := client.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{
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
	_, err = os.Stat(filepath.Join(session.CWD(), "hello.txt"))
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
	sandbox, err := sandboxagent.Start(context.Background(), sandboxagent.StartOptions{
		Binary: os.Args[0], // usually left out: the sandbox-agent of PATH
		Dir:    home,
		Env:    append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sandbox.Close()
	health, err := sandbox.Health(context.Background())
	fmt.Println(health.Status, err)
	// Output: ok <nil>
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
	session, err := server.CreateSession(context.Background(), "mock", sandboxagent.CreateSessionOptions{
		Model:        "mock-fast",
		Mode:         "plan",
		ThoughtLevel: "high",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, option := range session.ConfigOptions() {
		fmt.Println(option.ID, option.CurrentValue)
	}
	// Unordered output:
	// model mock-fast
	// mode plan
	// thought_level high
}

func ExampleClient_ResumeSession() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("/echo hello"))

	again, err := server.ResumeSession(ctx, "mock", session.ID(), sandboxagent.ResumeSessionOptions{
		Transcript: session.Transcript(), // for agents that forget
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(again.ID() == session.ID(), again.Restored())
	// Output: true resumed
}

func ExampleSession_Prompt() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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

// The end of the context cancels the turn, not the session.
func ExampleSession_Prompt_context() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = session.Prompt(short, sandboxagent.Text("/silence"))
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	turn, err := session.Prompt(ctx, sandboxagent.Text("/echo still here"))
	fmt.Println(turn.Text, err)
	// Output:
	// true
	// still here <nil>
}

func ExampleSession_Stream() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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
		case sandboxagent.UpdatePermission:
			fmt.Println("asked, with replies", update.Permission.Replies())
			update.Permission.Reply(sandboxagent.Reject)
		case sandboxagent.UpdateTurnEnd:
			fmt.Println("ended with", update.Turn.StopReason)
		}
	}
	// Output:
	// asked, with replies [once always reject]
	// ended with end_turn
}

func ExampleSession_Cancel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for update, err := range session.Stream(ctx, sandboxagent.Text("/burst 1000000")) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if update.Turn != nil {
			fmt.Println(update.Turn.StopReason)
			break
		}
		session.Cancel(ctx)
	}
	// Output: cancelled
}

func ExampleSession_SetModel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = session.SetMode(ctx, "plan")
	fmt.Println(session.Modes().CurrentModeID, err)
	// Output: plan <nil>
}

func ExampleSession_SetThoughtLevel() {
	server, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{})
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
	session, err := server.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{
		OnPermission: sandboxagent.AllowKinds(acp.ToolRead, acp.ToolSearch),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
	_, err = os.Stat(filepath.Join(session.CWD(), "hello.txt"))
	fmt.Println("not written:", errors.Is(err, os.ErrNotExist))
	// Output: not written: true
}

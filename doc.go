// Package sandboxagent is the Go SDK of Sandbox Agent: it drives coding agents,
// and the machine around them, through the HTTP API of a sandbox-agent server.
//
// [Connect] reaches a server that runs somewhere, [Start] runs one on this
// machine for as long as it is needed, and package embedded runs one inside
// the calling program. All three give a [Client].
//
//	client, err := sandboxagent.Connect(ctx, "http://127.0.0.1:2468")
//	session, err := client.CreateSession(ctx, sandboxagent.SessionOptions{
//		Agent:        "claude",
//		CWD:          "/workspace/project",
//		OnPermission: sandboxagent.AllowAll,
//	})
//	turn, err := session.Prompt(ctx, sandboxagent.Text("add a README that says hello"))
//	fmt.Println(turn.Text, turn.StopReason)
//
// The server keeps the sessions: they outlive clients, agents and the server
// itself, and are shared by all clients. [Client.Session] returns to one by its
// id, [Client.Sessions] lists them.
//
// The package reads the environment only through [FromEnv], keeps
// no global state, writes nothing to disk, and sets no timeout of its own on
// work that an agent does: contexts bound everything. It is not a binding of
// the Agent Client Protocol; that is package acp, whose types it uses where a
// session shows what an agent said.
//
// Every error that a server reports is an [*api.Error] somewhere in its chain,
// and errors.Is tells them apart: by an [api.Code], or by the sentinels
// of io/fs where they fit.
package sandboxagent

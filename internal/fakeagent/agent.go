// Package fakeagent is the agent that comes with the product, known to users as
// "mock": a complete ACP agent that plans, asks permission, changes files, runs
// commands and reports usage, by rules instead of a model. It is what the first
// run on a fresh machine and the tests work with. It is not an echo server made
// to please one client: whatever it shows a client, real agents do too.
package fakeagent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

// Options configure [Run]. The zero value is an agent whose sessions end with
// the process.
type Options struct {
	// StateDir is where sessions are kept so that a later process can load
	// them. It is created when needed; empty keeps them in memory only.
	StateDir string

	Version string    // what initialize says; empty means "builtin"
	Stderr  io.Writer // nil drops what the agent says there

	// Exit ends the process for /crash and must not return. Nil means os.Exit.
	Exit func(code int)

	// ListAgents and InstallAgent answer the methods by which the earlier
	// command line asks for agents. Nil answers for the mock alone.
	ListAgents   func(ctx context.Context) (json.RawMessage, error)
	InstallAgent func(ctx context.Context, params json.RawMessage) (json.RawMessage, error)
}

// stopWait bounds the wait for turns when the input has ended.
const stopWait = 2 * time.Second

// Run is the agent. It reads frames from in until that ends, ctx ends or a
// prompt says /exit, cancels what runs and returns nil. When it is not in that
// ended, one goroutine stays behind until its read returns; in is closed if it
// can be.
func Run(ctx context.Context, in io.Reader, out io.Writer, opts Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newAgent(ctx, cancel, opts)
	a.conn = acp.NewConn(in, out, acp.ConnOptions{Handle: a.handle, Invalid: a.invalid})
	ended := make(chan error, 1)
	go func() { ended <- a.conn.Run(ctx) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	cancel()
	a.drain()
	_ = a.conn.Flush() // the reader may be gone
	if c, ok := in.(io.Closer); ok {
		_ = c.Close()
	}
	return err
}

type agent struct {
	opts  Options
	conn  *acp.Conn
	store store
	ctx   context.Context // ends with Run
	quit  context.CancelFunc
	turns sync.WaitGroup
	deaf  chan struct{} // closed: no frame is read any more

	mu       sync.Mutex
	deafOnce sync.Once
	sessions map[string]*session
	requests map[string]context.CancelFunc // prompts under way, by request id
}

func newAgent(ctx context.Context, quit context.CancelFunc, opts Options) *agent {
	if opts.Version == "" {
		opts.Version = "builtin"
	}
	if opts.Stderr == nil {
		opts.Stderr = io.Discard
	}
	if opts.Exit == nil {
		opts.Exit = os.Exit
	}
	return &agent{
		opts: opts, store: store{dir: opts.StateDir}, ctx: ctx, quit: quit,
		deaf: make(chan struct{}), sessions: map[string]*session{}, requests: map[string]context.CancelFunc{},
	}
}

// drain waits for the turns, which have been cancelled. One that writes to a
// reader who does not read is left behind.
func (a *agent) drain() {
	done := make(chan struct{})
	go func() {
		a.turns.Wait()
		close(done)
	}()
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (a *agent) invalid(line []byte, err error) {
	fmt.Fprintf(a.opts.Stderr, "mock: not a frame: %v: %.80q\n", err, line)
	frame, encErr := acp.ErrorFrame(json.RawMessage("null"), acp.Errorf(acp.CodeParseError, "Parse error: %v", err))
	if encErr == nil {
		_ = a.conn.Send(frame)
	}
}

// handle runs in the goroutine that reads, so frames are taken in order.
func (a *agent) handle(ctx context.Context, in *acp.Incoming) {
	select {
	case <-a.deaf:
		<-ctx.Done()
		return
	default:
	}
	if in.Kind == acp.Notification && a.notified(in) {
		return
	}
	if in.Kind != acp.Request {
		if !ofProtocol(in.Method) {
			a.echo(in)
		}
		return
	}
	if err := checkParams(in); err != nil {
		_ = in.Fail(err)
		return
	}
	if in.Method == acp.MethodSessionPrompt {
		a.startPrompt(in)
		return
	}
	answer, ok := a.methods()[in.Method]
	switch {
	case ok:
	case ofProtocol(in.Method):
		_ = in.Fail(acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", in.Method))
		return
	default:
		a.echo(in)
		return
	}
	result, err := answer(in)
	if err != nil {
		_ = in.Fail(err)
		return
	}
	_ = in.Reply(result)
}

func (a *agent) methods() map[string]func(*acp.Incoming) (any, error) {
	return map[string]func(*acp.Incoming) (any, error){
		acp.MethodInitialize:      a.initialize,
		acp.MethodAuthenticate:    func(*acp.Incoming) (any, error) { return nil, nil },
		acp.MethodSessionNew:      a.newSession,
		acp.MethodSessionLoad:     a.loadSession,
		acp.MethodSessionResume:   a.resumeSession,
		acp.MethodSessionList:     a.listSessions,
		acp.MethodSessionClose:    a.closeSession,
		acp.MethodSetMode:         a.setMode,
		acp.MethodSetModel:        a.setModel,
		acp.MethodSetConfigOption: a.setConfigOption,
		acp.MethodAgentList:       a.listAgents,
		acp.MethodAgentInstall:    a.installAgent,
	}
}

// notified handles the notifications the agent knows.
func (a *agent) notified(in *acp.Incoming) bool {
	switch in.Method {
	case acp.MethodSessionCancel:
		if s, err := a.session(in.SessionID); err == nil {
			s.cancelTurns()
		}
	case acp.MethodCancelRequest:
		var p struct {
			RequestID json.RawMessage `json:"requestId"`
		}
		if in.Decode(&p) == nil {
			a.mu.Lock()
			cancel := a.requests[string(p.RequestID)]
			a.mu.Unlock()
			if cancel != nil {
				cancel()
			}
		}
	default:
		return false
	}
	return true
}

func (a *agent) initialize(*acp.Incoming) (any, error) {
	return acp.InitializeResult{
		ProtocolVersion: acp.ProtocolVersion,
		AgentCapabilities: acp.AgentCapabilities{
			LoadSession:         true,
			PromptCapabilities:  acp.PromptCapabilities{Image: true, Audio: true, EmbeddedContext: true},
			MCPCapabilities:     acp.MCPCapabilities{HTTP: true, SSE: true},
			SessionCapabilities: acp.SessionCapabilities{List: acp.Present, Resume: acp.Present, Close: acp.Present},
		},
		AuthMethods: []acp.AuthMethod{},
		AgentInfo:   &acp.Implementation{Name: "mock", Title: "Mock", Version: a.opts.Version},
	}, nil
}

// echo treats frames outside of the protocol as the agent of that name always did:
// clients use it to test their wiring. The frame is repeated byte for byte.
func (a *agent) echo(in *acp.Incoming) {
	if in.Line[0] != '{' {
		return
	}
	_ = a.conn.Queue(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"mock/echo","params":{"message":%s}}`, in.Line))
	switch {
	case in.Kind == acp.Request:
		_ = a.conn.Queue(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"echoed":%s}}`, in.ID, in.Line))
	case in.ID != nil && in.Method == "":
		frame := struct{ Result, Error json.RawMessage }{}
		_ = json.Unmarshal(in.Line, &frame) // it was parsed before
		_ = a.conn.Queue(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"mock/client_response","params":{"id":%s,"result":%s,"error":%s}}`,
			in.ID, orNull(frame.Result), orNull(frame.Error)))
	}
	_ = a.conn.Flush()
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func (a *agent) listAgents(*acp.Incoming) (any, error) {
	if a.opts.ListAgents != nil {
		return a.opts.ListAgents(a.ctx)
	}
	return json.RawMessage(`{"agents":[{"id":"mock","name":"Mock","installed":true,"credentialsAvailable":true,"version":"builtin"}]}`), nil
}

func (a *agent) installAgent(in *acp.Incoming) (any, error) {
	var p json.RawMessage
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	if a.opts.InstallAgent != nil {
		return a.opts.InstallAgent(a.ctx, p)
	}
	var want struct{ Agent, ID string }
	_ = json.Unmarshal(p, &want)
	if name := want.Agent + want.ID; name != "" && name != "mock" {
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: the mock agent installs only itself, not %q", name)
	}
	return json.RawMessage(`{"already_installed":true,"artifacts":[]}`), nil
}

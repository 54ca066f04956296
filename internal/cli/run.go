package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// The exit codes of run besides those of all commands.
const (
	exitRefused   = 3   // the agent refused the task
	exitLimit     = 4   // the agent reached a limit of its own
	exitUnasked   = 5   // a permission was rejected because nobody could be asked
	exitCancelled = 130 // interrupted, as shells count SIGINT
)

// runOptions are the flags of the run command.
type runOptions struct {
	agent, model, mode, thought string
	cwd, resume, sandbox        string
	permissions                 string
	yes, ephemeral, bind, apply bool
	inside                      bool // the server runs inside this command
	server                      serverOptions
}

func newRun(g *globals) *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run [TASK...]",
		Short: "Give an agent a task and watch it work",
		Long: `Give an agent a task and watch it work. The task is the arguments, or what is on
standard input.

Without --agent the first agent is taken that is installed and has credentials,
else the built-in mock. Without --endpoint the server is the one that runs on the
data directory, or else runs inside this command.
What the agent says goes to standard output; what it does, to standard error.

The agent's permission requests are shown on the terminal. Without a terminal,
reading and changes of files below the working directory are allowed, and all else
is rejected, above all commands. --yes allows everything this once; --permissions
gives the session a policy of its own. The first line says which agent works, in
which mode and directory, and what becomes of its permission requests.

The session is kept: --resume goes on with it, as do the sessions commands. One that
is --ephemeral is not: nothing of it is on disk but what the agent itself writes.
Ctrl-C cancels the turn; a second one leaves at once.

With --sandbox PROVIDER the agent works in a new sandbox, on a copy of the directory.
What it changed is shown at the end, and brought back if you say so, or at once with
--apply; otherwise it stays in the sandbox, see sandbox-agent sandbox apply. --bind
lets the sandbox change the directory itself.

Exit codes: 0 the turn ended; 1 something went wrong; 2 the command was not
understood; 3 the agent refused; 4 the agent reached a limit; 5 the turn ended,
but a permission request was rejected because there is no terminal; 130 cancelled.`,
		Example: `  sandbox-agent run "add a README that says hello"
  sandbox-agent run --agent claude --yes "make the tests pass"
  sandbox-agent run --sandbox bubblewrap "add a licence"
  git diff | sandbox-agent run --json
  sandbox-agent run --resume 3f2a91c05b7de468 "now add a licence"`,
		RunE: func(cmd *cobra.Command, args []string) error { return runTask(cmd.Context(), g, o, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.agent, "agent", "a", "", "agent to run (see sandbox-agent agents list)")
	f.StringVarP(&o.model, "model", "m", "", "model of the agent")
	f.StringVar(&o.mode, "mode", "", "mode of the agent, such as plan")
	f.StringVar(&o.thought, "thought-level", "", "thought level of the agent")
	f.StringVarP(&o.cwd, "cwd", "C", "", "directory to work in "+relativeCWD)
	f.StringVarP(&o.resume, "resume", "r", "", "go on with the session of this id, or of one that begins so")
	f.BoolVarP(&o.yes, "yes", "y", false, "allow whatever the agent asks for")
	f.StringVar(&o.permissions, "permissions", "", permissionsHelp+" (default ask in a terminal)")
	cmd.MarkFlagsMutuallyExclusive("yes", "permissions")
	f.BoolVar(&o.ephemeral, "ephemeral", false, ephemeralHelp)
	cmd.MarkFlagsMutuallyExclusive("ephemeral", "resume")
	f.StringVarP(&g.endpoint, "endpoint", "e", "", "server to use instead of one inside this command (default $SANDBOX_AGENT_ENDPOINT)")
	f.StringVar(&o.sandbox, "sandbox", "", "work in a new sandbox of this provider, on a copy of the directory of --cwd, or in the sandbox of this id")
	f.BoolVar(&o.bind, "bind", false, "let a new sandbox change the directory itself instead of a copy")
	f.BoolVar(&o.apply, "apply", false, "bring the changes of the sandbox back without asking, if the turn ended well")
	cmd.MarkFlagsMutuallyExclusive("endpoint", "sandbox")
	must(cmd.RegisterFlagCompletionFunc("sandbox", g.completeRunSandbox))
	must(cmd.RegisterFlagCompletionFunc("agent", g.completeAgent))
	f.StringArrayVar(&o.server.agentCommands, "agent-command", nil, "start agent ID with a command, as ID=COMMAND ARG..., quoted as for a shell (repeatable)")
	return cmd
}

func runTask(ctx context.Context, g *globals, o *runOptions, args []string) error {
	if o.resume != "" && (o.cwd != "" || o.agent != "") {
		return usagef("--resume goes on with the agent and the directory of the session; leave out --agent and --cwd")
	}
	task, err := readTask(g, args)
	if err != nil {
		return err
	}
	if o.sandbox == "" {
		g.endpoint = g.givenEndpoint()
		if g.endpoint == "" { // the server is on this machine
			o.cwd = g.path(o.cwd)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go g.cancelOnSignal(ctx, func(cause error) {
		fmt.Fprintln(g.env.Err, "\ncancelling; Ctrl-C again leaves at once")
		cancel(cause)
	})
	if o.sandbox != "" {
		if err := o.enterSandbox(ctx, g); err != nil {
			return interrupted(ctx, err)
		}
	}
	client, stop, err := o.connect(ctx, g)
	if err != nil {
		return err
	}
	defer stop()
	ask := &asker{g: g, view: newView(g), yes: o.yes}
	err = interrupted(ctx, g.explain(client, o.run(ctx, g, client, task, ask)))
	if o.sandbox == "" {
		return err
	}
	if left := o.leaveSandbox(context.WithoutCancel(ctx), g, ask, err != nil); left != nil {
		return errors.Join(err, left)
	}
	return err
}

// explainLogin says what an agent needs that wants a login.
func (g *globals) explainLogin(id string, err error) error {
	var refused *sandboxagent.RPCError
	if !errors.As(err, &refused) || refused.Code != acp.CodeAuthRequired {
		return err
	}
	agent, unknown := g.catalogue().Agent(id)
	if unknown != nil || agent.Credentials.Hint == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, agent.Credentials.Hint)
}

// pickDirectory sees to a directory to work in; see [globals.cwdOnServer].
func (o *runOptions) pickDirectory(ctx context.Context, g *globals, client *sandboxagent.Client) error {
	o.cwd = g.cwdOnServer(ctx, client, o.cwd)
	if o.cwd == "" {
		return nil
	}
	info, err := client.Stat(ctx, o.cwd)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return usagef("--cwd %s is not a directory", o.cwd)
	}
	return err
}

// run gives an agent the task and says how it went.
func (o *runOptions) run(ctx context.Context, g *globals, client *sandboxagent.Client, task string, ask *asker) error {
	view := &sessionView{view: ask.view, own: []string{task}}
	session, err := o.openSession(ctx, g, client, view.view)
	if err != nil {
		return err
	}
	info, err := session.Info(ctx)
	if err != nil {
		return err
	}
	view.session(info, o.replies(g, info))
	r := &run{view: view, session: session, ask: ask}
	r.unattended = !g.asks() && isUnattended(info.Permissions)
	turn, err := r.turn(ctx, task)
	if err == nil {
		err = context.Cause(ctx) // an agent may call a turn that was cancelled a success
	}
	if err == nil || ctx.Err() != nil {
		view.end(turn, info)
	}
	switch {
	case err != nil:
		return err
	case r.ask.unasked:
		fmt.Fprintln(g.env.Err, "sandbox-agent: a permission request was rejected because there is no terminal; run in one, or allow more with --permissions or --yes")
		return exitStatus(exitUnasked)
	}
	return stopStatus(turn.StopReason)
}

func readTask(g *globals, args []string) (string, error) {
	task := strings.Join(args, " ")
	if task == "" && g.env.InTerminal {
		return "", usagef(`no task; try: sandbox-agent run "add a README that says hello"`)
	}
	if task == "" {
		data, err := io.ReadAll(g.env.In)
		if err != nil {
			return "", fmt.Errorf("read task: %w", err)
		}
		task = string(data)
	}
	if strings.TrimSpace(task) == "" {
		return "", usagef("the task is empty")
	}
	return task, nil
}

// connect returns a client of the server at the endpoint, else of the one that runs
// on the data directory, else of one inside this program that stop ends.
func (o *runOptions) connect(ctx context.Context, g *globals) (client *sandboxagent.Client, stop func(), err error) {
	switch {
	case g.endpoint != "" || g.sandbox != "":
		client = g.dial()
	case len(o.server.agentCommands) == 0:
		client = g.ownServer(ctx)
	}
	if client == nil {
		o.inside = true
		return g.startInside(&o.server)
	}
	return client, func() { client.Close() }, nil
}

// pickAgent chooses which agent works, and installs it if need be.
func (o *runOptions) pickAgent(ctx context.Context, g *globals, client *sandboxagent.Client, view *view) error {
	if o.agent == "" {
		ready, err := o.firstReady(ctx, g, client)
		if err != nil {
			return err
		}
		if o.agent = ready; ready == mockAgent {
			view.note("no installed agent with credentials was found, so the built-in mock works; see sandbox-agent doctor")
		}
	}
	info, err := client.Agent(ctx, o.agent, sandboxagent.AgentsOptions{})
	configured := slices.ContainsFunc(o.server.agentCommands, func(c string) bool { return strings.HasPrefix(c, o.agent+"=") })
	if err != nil || info.Installed || configured {
		return err
	}
	view.note("installing " + info.Name)
	steps := &installSteps{g: g}
	defer steps.end()
	_, err = client.InstallAgent(ctx, o.agent, sandboxagent.InstallAgentOptions{OnProgress: steps.tell})
	return err
}

// firstReady returns the agent to take when nobody said which.
func (o *runOptions) firstReady(ctx context.Context, g *globals, client *sandboxagent.Client) (string, error) {
	if o.inside {
		return g.catalogue().FirstReady(), nil
	}
	list, err := client.Agents(ctx, sandboxagent.AgentsOptions{})
	if err != nil {
		return "", err
	}
	for _, a := range list {
		if a.Installed && a.CredentialsAvailable && a.Source != api.AgentBuiltin {
			return a.ID, nil
		}
	}
	return mockAgent, nil
}

// openSession starts a session, or goes on with the one that was named.
func (o *runOptions) openSession(ctx context.Context, g *globals, client *sandboxagent.Client, view *view) (*sandboxagent.Session, error) {
	if o.resume != "" {
		return o.resumeSession(ctx, g, client)
	}
	if err := o.pickDirectory(ctx, g, client); err != nil {
		return nil, err
	}
	if err := o.pickAgent(ctx, g, client, view); err != nil {
		return nil, err
	}
	policy, err := o.policy(g)
	if err != nil {
		return nil, err
	}
	return client.CreateSession(ctx, sandboxagent.SessionOptions{
		Agent: o.agent, CWD: o.cwd, Mode: o.mode, Model: o.model, ThoughtLevel: o.thought, Permissions: policy, Ephemeral: o.ephemeral,
	})
}

// policy returns what decides the permission requests of a new session.
func (o *runOptions) policy(g *globals) (api.PermissionPolicy, error) {
	switch {
	case o.permissions != "":
		return g.policy(o.permissions)
	case o.yes: // an agent that cannot ask is taken only then
		return api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow)}, nil
	case g.asks():
		return api.PermissionPolicy{}, nil
	}
	return *permission.Unattended(), nil
}

// replies says what becomes of permission requests.
func (o *runOptions) replies(g *globals, info *api.Session) string {
	p := info.Permissions
	if o.yes && describePolicy(p) != allowsPolicy {
		return describePolicy(p) + ", and what it asks about is allowed"
	}
	if text := describePolicy(p); text != asksPolicy || g.asks() {
		return text
	}
	return "what it asks about is rejected, as there is no terminal"
}

func (o *runOptions) resumeSession(ctx context.Context, g *globals, client *sandboxagent.Client) (*sandboxagent.Session, error) {
	session, err := g.findSession(ctx, client, o.resume)
	if err != nil {
		return nil, err
	}
	info, err := session.Info(ctx)
	if err != nil {
		return nil, err
	}
	// A policy that a user chose stays; one that a run has set goes with it.
	if o.permissions != "" || describePolicy(info.Permissions) == asksPolicy || isUnattended(info.Permissions) {
		policy, err := o.policy(g)
		if err != nil {
			return nil, err
		}
		if _, err := session.Update(ctx, api.SessionPatch{Permissions: &policy}); err != nil {
			return nil, err
		}
	}
	if err := session.Resume(ctx); err != nil {
		return nil, err
	}
	for _, setting := range []struct {
		value string
		set   func(context.Context, string) error
	}{{o.mode, session.SetMode}, {o.model, session.SetModel}, {o.thought, session.SetThoughtLevel}} {
		if setting.value == "" {
			continue
		}
		if err := setting.set(ctx, setting.value); err != nil {
			return nil, err
		}
	}
	return session, nil
}

// run is a turn that is shown, and takes replies, on the terminal.
type run struct {
	view    *sessionView
	session *sandboxagent.Session
	ask     *asker

	unattended bool // the policy is the one for runs without a terminal
}

// streamed is a step of a turn.
type streamed struct {
	sandboxagent.Update
	err error
}

// maxWaiting bounds the updates that are kept while the user is asked.
const maxWaiting = 4096

// turn gives the agent the task and shows what it does. The end of ctx cancels the
// turn, which then ends like any other.
func (r *run) turn(ctx context.Context, task string) (*sandboxagent.Turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	streaming, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	defer context.AfterFunc(ctx, func() { cancelTurn(streaming, r.session) })()
	updates := make(chan streamed)
	go func() {
		defer close(updates)
		for u, err := range r.session.Stream(streaming, sandboxagent.Text(task)) {
			select {
			case updates <- streamed{u, err}:
			case <-streaming.Done():
				return
			}
		}
	}()
	var waiting []streamed
	for {
		var u streamed
		var ok bool
		if len(waiting) > 0 {
			u, waiting, ok = waiting[0], waiting[1:], true
		} else if u, ok = r.next(updates); !ok {
			return nil, errors.New("the turn ended without a result")
		}
		if u.err != nil || u.Turn != nil {
			r.view.line()
			return u.Turn, u.err
		}
		r.view.step(u.Update)
		if r.unattended && u.Resolved != nil && u.Resolved.By == api.ByPolicy && u.Resolved.Reply == api.ReplyReject {
			r.ask.unasked = true
		}
		if u.Permission == nil || resolvedIn(waiting, u.Permission.ID) {
			continue
		}
		reply, more := r.decide(ctx, *u.Permission, updates)
		waiting = append(waiting, more...)
		if reply == "" {
			continue
		}
		_, err := r.session.Reply(streaming, u.Permission.ID, reply)
		if err != nil && !errors.Is(err, sandboxagent.ErrPermissionResolved) && !errors.Is(err, api.CodeNotFound) {
			return nil, err
		}
	}
}

// decide gets the reply to a permission request, nothing when another client
// replies first, and what happens meanwhile.
func (r *run) decide(ctx context.Context, p api.Permission, updates <-chan streamed) (sandboxagent.Reply, []streamed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	decided := make(chan sandboxagent.Reply, 1)
	go func() { decided <- r.ask.decide(ctx, p) }()
	var waiting []streamed
	for {
		more := updates
		if len(waiting) == maxWaiting {
			more = nil
		}
		select {
		case reply := <-decided:
			if ctx.Err() != nil {
				return "", waiting
			}
			return reply, waiting
		case u, ok := <-more:
			if !ok {
				updates = nil
				cancel()
				continue
			}
			waiting = append(waiting, u)
			if u.err != nil || u.Turn != nil || resolvedIn(waiting[len(waiting)-1:], p.ID) {
				cancel()
			}
		}
	}
}

// resolvedIn reports whether a permission request was resolved in some updates.
func resolvedIn(updates []streamed, id string) bool {
	return slices.ContainsFunc(updates, func(u streamed) bool { return u.Resolved != nil && u.Resolved.PermissionID == id })
}

// cancelAgain is how long a turn may take to begin before it is cancelled again.
const cancelAgain = 100 * time.Millisecond

// cancelTurn cancels the turn under way, or the one that is about to begin, unless
// ctx ends with it.
func cancelTurn(ctx context.Context, session *sandboxagent.Session) error {
	for {
		result, err := session.Cancel(ctx)
		if err != nil || result.Cancelled > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cancelAgain):
		}
	}
}

// startInside runs a server in this program, on the data of the user and a
// socket of its own. Where another server holds the data, the events of this
// run go to a file of their own.
func (g *globals) startInside(o *serverOptions) (*sandboxagent.Client, func(), error) {
	cfg, err := g.insideConfig(o)
	if err != nil {
		return nil, nil, err
	}
	if sqlite.Held(g.journalFile()) {
		cfg.Journal = g.runJournal()
	}
	inside, err := g.openInside(cfg)
	if errors.Is(err, api.CodeDataLocked) {
		cfg.Journal = g.runJournal()
		inside, err = g.openInside(cfg)
	}
	if err != nil {
		return nil, nil, err
	}
	return inside.client, inside.stop, nil
}

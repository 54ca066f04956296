package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// The exit codes of run beside those of all commands.
const (
	exitRefused   = 3   // the agent refused the task
	exitLimit     = 4   // the agent reached a limit of its own
	exitUnasked   = 5   // a permission was rejected because nobody could be asked
	exitCancelled = 130 // interrupted, as shells count SIGINT
)

// runOptions are the flags of the run command.
type runOptions struct {
	agent, model, mode, thought string
	cwd, resume                 string
	yes                         bool
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
else the built-in mock. Without --endpoint the server runs inside this command.
What the agent says goes to standard output; what it does, to standard error.

The agent's questions are asked on the terminal. Without a terminal, changes of
files below the working folder are allowed and everything else is rejected;
--yes allows everything.

Ctrl-C cancels the turn; a second one leaves at once.

Exit codes: 0 the turn ended; 1 something went wrong; 2 the command was not
understood; 3 the agent refused; 4 the agent reached a limit; 5 the turn ended,
but a permission was rejected because nobody could be asked; 130 cancelled.`,
		Example: `  sandbox-agent run "add a README that says hello"
  sandbox-agent run --agent claude --yes "make the tests pass"
  git diff | sandbox-agent run --json
  sandbox-agent run --agent mock --resume mock-3f2a "now add a licence"`,
		RunE: func(cmd *cobra.Command, args []string) error { return runTask(cmd.Context(), g, o, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.agent, "agent", "a", "", "agent to run (see sandbox-agent agents list)")
	f.StringVarP(&o.model, "model", "m", "", "model of the agent")
	f.StringVar(&o.mode, "mode", "", "mode of the agent, such as plan")
	f.StringVar(&o.thought, "thought-level", "", "thought level of the agent")
	f.StringVarP(&o.cwd, "cwd", "C", "", "folder to work in (default the current one, or the server's home where that is not there)")
	f.StringVarP(&o.resume, "resume", "r", "", "go on with a session of the agent")
	f.BoolVarP(&o.yes, "yes", "y", false, "allow whatever the agent asks for")
	f.StringVarP(&g.endpoint, "endpoint", "e", "", "server to use instead of one inside this command (default $SANDBOX_AGENT_ENDPOINT)")
	must(cmd.RegisterFlagCompletionFunc("agent", g.completeAgent))
	f.StringArrayVar(&o.server.agentCommands, "agent-command", nil, "start agent ID with a command, as ID=COMMAND ARG..., quoted as for a shell (repeatable)")
	return cmd
}

func runTask(ctx context.Context, g *globals, o *runOptions, args []string) error {
	task, err := readTask(g, args)
	if err != nil {
		return err
	}
	g.endpoint = g.givenEndpoint()
	if o.cwd != "" || g.endpoint == "" {
		o.cwd = g.path(o.cwd)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go g.cancelOnSignal(ctx, func(cause error) {
		fmt.Fprintln(g.env.Err, "\ncancelling; Ctrl-C again leaves at once")
		cancel(cause)
	})
	client, stop, err := g.connect(&o.server)
	if err != nil {
		return err
	}
	defer stop()
	return interrupted(ctx, g.explain(client, g.explainLogin(o.agent, o.run(ctx, g, client, task))))
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

// pickFolder sees to a folder to work in: the one that was named, else on this
// machine the one here, and elsewhere that of the server.
func (o *runOptions) pickFolder(ctx context.Context, g *globals, client *sandboxagent.Client) error {
	info, err := client.Stat(ctx, cmp.Or(o.cwd, g.env.Dir))
	found := err == nil && info.IsDir()
	switch {
	case o.cwd == "" && found:
		o.cwd = g.env.Dir
	case o.cwd == "" || found:
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return usagef("--cwd %s is not a folder", o.cwd)
	default:
		return err
	}
	return nil
}

// run gives an agent the task and says how it went.
func (o *runOptions) run(ctx context.Context, g *globals, client *sandboxagent.Client, task string) error {
	view := newView(g)
	if err := o.pickFolder(ctx, g, client); err != nil {
		return err
	}
	if err := o.pickAgent(ctx, g, client, view); err != nil {
		return err
	}
	session, err := o.openSession(ctx, client)
	if err != nil {
		return err
	}
	view.session(session)
	ask := &asker{g: g, view: view, cwd: session.CWD(), yes: o.yes}
	turn, err := o.turn(ctx, session, task, view, ask)
	if err == nil || ctx.Err() != nil {
		view.end(turn, session)
	}
	switch {
	case err != nil:
		return err
	case ask.unasked:
		fmt.Fprintln(g.env.Err, "sandbox-agent: a permission was rejected because nobody could be asked; run in a terminal, or allow everything with --yes")
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

// connect returns a client of the server at the endpoint, or of one inside this
// program that stop ends.
func (g *globals) connect(o *serverOptions) (client *sandboxagent.Client, stop func(), err error) {
	if g.endpoint == "" {
		return g.startInside(o)
	}
	client = g.dial()
	return client, func() { client.Close() }, nil
}

// pickAgent settles which agent works, and installs it if need be.
func (o *runOptions) pickAgent(ctx context.Context, g *globals, client *sandboxagent.Client, view *view) error {
	if o.agent == "" {
		ready, err := firstReady(ctx, g, client)
		if err != nil {
			return err
		}
		if o.agent = ready; ready == "mock" {
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
func firstReady(ctx context.Context, g *globals, client *sandboxagent.Client) (string, error) {
	if g.endpoint == "" {
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
	return "mock", nil
}

func (o *runOptions) openSession(ctx context.Context, client *sandboxagent.Client) (*sandboxagent.Session, error) {
	options := sandboxagent.CreateSessionOptions{CWD: o.cwd, Mode: o.mode, Model: o.model, ThoughtLevel: o.thought}
	if o.resume != "" {
		return client.ResumeSession(ctx, o.agent, o.resume, sandboxagent.ResumeSessionOptions{CreateSessionOptions: options})
	}
	return client.CreateSession(ctx, o.agent, options)
}

// turn runs the task and shows it as it goes.
func (o *runOptions) turn(ctx context.Context, session *sandboxagent.Session, task string, view *view, ask *asker) (*sandboxagent.Turn, error) {
	for update, err := range session.Stream(ctx, sandboxagent.Text(task)) {
		if update.Turn != nil {
			return update.Turn, err
		}
		if err != nil {
			return nil, err
		}
		view.update(update)
		if update.Permission != nil {
			if err := update.Permission.Reply(ask.decide(ctx, update.Permission)); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("the turn ended without a result")
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
	inside, err := openInside(cfg)
	if errors.Is(err, api.CodeDataLocked) {
		cfg.Journal = g.runJournal()
		inside, err = openInside(cfg)
	}
	if err != nil {
		return nil, nil, err
	}
	return inside.client, inside.stop, nil
}

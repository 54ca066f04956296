package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// exitNotRunning is the exit code of daemon status when there is none.
const exitNotRunning = 3

// How long the daemon commands wait.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second // above what a server takes to stop
	askTimeout   = 5 * time.Second  // for one health request
	daemonPoll   = 20 * time.Millisecond
)

// daemonOptions are the flags of the daemon commands.
type daemonOptions struct {
	g       *globals
	host    string
	port    uint16
	upgrade bool
	timeout time.Duration // for the daemon to end
	server  []string      // flags for the server
}

func newDaemon(g *globals) *cobra.Command {
	o := &daemonOptions{g: g}
	cmd := noun(g, "daemon", "Run a server in the background",
		`Run a server in the background, one for each host and port.

What the commands do is told on standard error. The pid, the log and the version
of a daemon are in the directory daemon of the data directory. The daemon holds a lock
on its pid file while it lives, so that a pid that was given to another process
is never taken for it.

Exit codes: 0 done, or running; 1 something went wrong; 2 the command was not
understood; 3 status: not running.`,
		newDaemonStart(o), newDaemonStop(o), newDaemonStatus(o), newDaemonServe(g))
	f := cmd.PersistentFlags()
	f.StringVarP(&o.host, "host", "H", "127.0.0.1", "address to listen on")
	f.Uint16VarP(&o.port, "port", "p", 2468, "port to listen on")
	return cmd
}

// run is what the daemon commands have in common.
func (o *daemonOptions) run(do func(context.Context, daemonFiles) error) func(*cobra.Command, []string) error {
	return o.g.local(func(ctx context.Context, args []string) error {
		if o.port == 0 {
			return usagef("a daemon needs a port that can be found again, not 0")
		}
		o.server = args
		return do(ctx, daemonFilesOf(o.g.data(), o.host, o.port))
	})
}

func (o *daemonOptions) say(format string, args ...any) {
	fmt.Fprintf(o.g.env.Err, format+"\n", args...)
}

// url is where clients on this machine reach the daemon.
func (o *daemonOptions) url() string {
	host := o.host
	switch host {
	case "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(o.port)))
}

// health asks once whether the daemon answers.
func (o *daemonOptions) health(ctx context.Context) error {
	client := sandboxagent.New(o.url(), sandboxagent.WithToken(o.g.bearer()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := client.Health(ctx)
	return err
}

func newDaemonStart(o *daemonOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start [-- SERVER-FLAG...]",
		Short: "Start the daemon, unless it runs",
		Long: `Start the daemon and wait until it answers. One that runs already is left alone;
with --upgrade one of another build of this program is stopped first.

Flags after -- are those of sandbox-agent server. A token is handed on by a
pipe, where others on this machine do not see it.`,
		Example: `  sandbox-agent daemon start --port 3000
  SANDBOX_AGENT_TOKEN=secret sandbox-agent daemon start --host 0.0.0.0 -- --limit maxConnections=8`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				return usagef("unexpected argument %q; flags for the server stand after --", args[0])
			}
			return nil
		},
		RunE: o.run(o.start),
	}
	cmd.Flags().BoolVar(&o.upgrade, "upgrade", false, "restart a daemon of another build")
	return cmd
}

func (o *daemonOptions) start(ctx context.Context, files daemonFiles) error {
	if o.upgrade {
		state := "unset"
		if o.g.bearer() != "" {
			state = "set"
		}
		o.say("checking daemon health at %s (token: %s)...", o.url(), state)
	}
	switch err := o.health(ctx); {
	case err == nil:
		build := files.build()
		if !o.upgrade || build == o.g.build() {
			o.say("daemon already running at %s", o.url())
			return nil
		}
		if build == "" {
			return fmt.Errorf("the server at %s is no daemon of %s, so it cannot be upgraded; stop it where it was started", o.url(), o.g.data())
		}
		o.say("daemon outdated (build %s -> %s), restarting...", build, o.g.build())
		if err := o.stop(ctx, files); err != nil {
			return err
		}
	case errors.Is(err, api.CodeTokenInvalid):
		return fmt.Errorf("the server at %s wants another token; give it with --token or $SANDBOX_AGENT_TOKEN", o.url())
	default:
		if pid, running := files.owner(); running {
			o.say("daemon process %d exists; waiting for health", pid)
			if err := o.awaitOther(ctx, files); !errors.Is(err, errDaemonGone) {
				return err
			}
		}
	}
	return o.spawn(ctx, files)
}

// spawn starts the daemon and waits for it.
func (o *daemonOptions) spawn(ctx context.Context, files daemonFiles) error {
	if err := os.MkdirAll(files.dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	log, err := os.OpenFile(files.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	args := []string{"daemon", "serve", "--host", o.host, "--port", strconv.Itoa(int(o.port))}
	if o.g.dataDir != "" { // only a directory that was named has to be the one
		args = append(args, "--data-dir", o.g.data())
	}
	var inherited []*os.File
	if token := o.g.bearer(); token != "" {
		file, err := tokenPipe(token)
		if err != nil {
			return err
		}
		defer file.Close()
		inherited = []*os.File{file}
		args = append(args, "--token-file", "fd:3")
	} else if o.g.noToken {
		args = append(args, "--no-token")
	}
	args = append(args, o.server...)
	if o.g.logLevel != "" {
		args = append(args, "--log-level", o.g.logLevel)
	}
	o.say("starting daemon at %s (logs: %s)", o.url(), files.log)
	daemon, err := child.StartDetached(child.Spec{Path: o.g.env.Exe, Args: args, Dir: o.g.env.Dir, Env: o.g.env.forChildren(), Files: inherited}, log)
	if err != nil {
		return err
	}
	if err := o.await(ctx, files, daemon); err != nil {
		return fmt.Errorf("%w%s", err, lastLines(files.log))
	}
	if pid, _ := files.owner(); pid != daemon.PID() {
		o.say("daemon already running at %s", o.url()) // another command was faster
		return nil
	}
	o.say("daemon started (PID %d, logs: %s)", daemon.PID(), files.log)
	o.sayDataDir(ctx)
	return nil
}

// sayDataDir says where the daemon keeps its data, if the data directory was in use.
func (o *daemonOptions) sayDataDir(ctx context.Context) {
	client := sandboxagent.New(o.url(), sandboxagent.WithToken(o.g.bearer()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if v, err := client.Version(ctx); err == nil && v.DataDir != "" && !sameDirectory(v.DataDir, o.g.data()) {
		o.say("its data is in %s, as %s is in use", v.DataDir, o.g.data())
	}
}

// tokenPipe returns a pipe to read a token from, which the caller closes.
func tokenPipe(token string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer w.Close()
	if err := w.SetWriteDeadline(time.Now().Add(time.Second)); err != nil { // nobody reads yet
		return nil, errors.Join(err, r.Close())
	}
	if _, err := w.WriteString(token); err != nil {
		return nil, errors.Join(fmt.Errorf("hand the token on: %w", err), r.Close())
	}
	return r, nil
}

// await waits until the daemon answers. One that ends before is an error, unless
// another one answers.
func (o *daemonOptions) await(ctx context.Context, files daemonFiles, daemon *child.Detached) error {
	err := o.poll(ctx, func() error {
		select {
		case <-daemon.Done():
			return fmt.Errorf("sandbox-agent exited before becoming healthy (%s)", daemon)
		default:
			return nil
		}
	})
	if pid, _ := files.owner(); pid == daemon.PID() && errors.Is(err, api.CodeTokenInvalid) {
		return nil // its token is in a file, or a flag, that only it knows
	}
	return err
}

// errDaemonGone says that the daemon of another command ended while it started.
var errDaemonGone = errors.New("the daemon ended before becoming healthy")

// awaitOther waits until a daemon answers that another command has started.
func (o *daemonOptions) awaitOther(ctx context.Context, files daemonFiles) error {
	return o.poll(ctx, func() error {
		if _, running := files.owner(); !running {
			return errDaemonGone
		}
		return nil
	})
}

// poll asks for health until it is good, or alive says that there is no use.
func (o *daemonOptions) poll(ctx context.Context, alive func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		gone := alive() // before the request, so that the last response counts
		err := o.health(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, api.CodeTokenInvalid):
			return fmt.Errorf("the server at %s wants another token: %w", o.url(), err)
		case gone != nil:
			return gone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out waiting for sandbox-agent health: %w", err)
		case <-time.After(daemonPoll):
		}
	}
}

// lastLines quotes the end of a log.
func lastLines(name string) string {
	data, err := os.ReadFile(name)
	text := strings.TrimSpace(string(data))
	if err != nil || text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; its last words:\n" + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func newDaemonStop(o *daemonOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon",
		Long: `Stop the daemon with its agents and processes: ask it, wait, and kill it if it does
not end in time. A daemon that does not run is no error.`,
		Example: "  sandbox-agent daemon stop --port 3000",
		Args:    arguments(0, 0),
		RunE:    o.run(o.stop),
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", stopTimeout, "time to end before it is killed")
	return cmd
}

func (o *daemonOptions) stop(ctx context.Context, files daemonFiles) error {
	_, err := os.Stat(files.pid)
	missing := errors.Is(err, os.ErrNotExist)
	pid, running := files.owner()
	if !running {
		if o.health(ctx) == nil {
			return fmt.Errorf("the server at %s is no daemon of %s; stop it where it was started", o.url(), o.g.data())
		}
		if missing {
			o.say("daemon is not running (no PID file)")
			return nil
		}
		o.say("daemon is not running (stale PID file)")
		return files.removeStale()
	}
	o.say("stopping daemon (PID %d)...", pid)
	killed, err := files.end(ctx, pid, o.timeout)
	if err != nil {
		return err
	}
	if killed {
		o.say("daemon killed")
		return files.removeStale()
	}
	o.say("daemon stopped")
	return nil
}

// daemonState is what daemon status --json prints.
type daemonState struct {
	Running  bool   `json:"running"`
	PID      int    `json:"pid,omitempty"`
	Build    string `json:"build,omitempty"`
	Outdated bool   `json:"outdated,omitempty"`
	Healthy  bool   `json:"healthy"`
	URL      string `json:"url"`
	Logs     string `json:"logs"`
}

func newDaemonStatus(o *daemonOptions) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Tell whether the daemon runs",
		Long:    "Tell whether the daemon runs. The exit code is 0 if it does, and 3 if not.",
		Example: "  sandbox-agent daemon status --port 3000 || echo it is down",
		Args:    arguments(0, 0),
		RunE:    o.run(o.status),
	}
}

func (o *daemonOptions) status(ctx context.Context, files daemonFiles) error {
	healthErr := o.health(ctx)
	state := daemonState{URL: o.url(), Logs: files.log, Healthy: healthErr == nil}
	state.PID, state.Running = files.owner()
	if state.Running {
		state.Build = files.build()
		state.Outdated = state.Build != "" && state.Build != o.g.build()
	}
	if o.g.json {
		if err := printJSON(o.g.env.Out, state); err != nil {
			return err
		}
	} else {
		o.describe(state, healthErr)
	}
	if !state.Running {
		return exitStatus(exitNotRunning)
	}
	return nil
}

func (o *daemonOptions) describe(state daemonState, healthErr error) {
	if !state.Running {
		o.say("Daemon not running")
		if state.Healthy {
			o.say("but a server that is no daemon of %s answers at %s", o.g.data(), state.URL)
		}
		return
	}
	outdated := ""
	if state.Outdated {
		outdated = " [outdated, restart recommended]"
	}
	o.say("Daemon running (PID %d, build %s, logs: %s)%s", state.PID, state.Build, state.Logs, outdated)
	if healthErr != nil {
		o.say("but it does not answer at %s: %v", state.URL, healthErr)
	}
}

// newDaemonServe is the daemon itself: the server, with a lock on its pid file
// while it lives.
func newDaemonServe(g *globals) *cobra.Command {
	cmd := newServer(g)
	serve := cmd.RunE
	cmd.Use, cmd.Hidden = "serve", true
	cmd.Short = "Be the daemon"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := g.ensureParent(); err != nil {
			return err
		}
		host, err := cmd.Flags().GetString("host")
		must(err)
		port, err := cmd.Flags().GetUint16("port")
		must(err)
		release, err := daemonFilesOf(g.data(), host, port).hold(g.build())
		if err != nil {
			return err
		}
		return errors.Join(serve(cmd, args), release())
	}
	return cmd
}

// build tells builds of this program apart, also those of one version: it has
// the time at which the program was put in place.
func (g *globals) build() string {
	version := Version().Version
	info, err := os.Stat(g.env.Exe)
	if err != nil {
		return version
	}
	return version + "-" + strconv.FormatInt(info.ModTime().UnixNano(), 10)
}

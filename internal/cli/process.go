package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// The exit codes of commands that pass on that of a process.
const (
	exitTimeout = 124 // as timeout(1) has it
	exitNotRun  = 125 // the process was not run, or not all of what became of it is known
)

func newProcess(g *globals) *cobra.Command {
	cmd := noun(g, "process", "Run and watch processes in a sandbox",
		`Run and watch processes in a sandbox. No shell is involved: to have one, run
sh -c "...".

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood; run
has that of the process.`,
		newProcessRun(g), newProcessStart(g), newProcessList(g), newProcessLogs(g), newProcessInput(g),
		newProcessStop(g), newProcessKill(g), newProcessRemove(g))
	return g.endpointFlag(cmd, defaultEndpoint)
}

// completeProcess completes ids of processes.
func (g *globals) completeProcess(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client := g.dial()
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	all, err := client.Processes(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, p := range all {
		ids = append(ids, cobra.CompletionWithDesc(p.ID, commandLine(p)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// commandLine is a command on one line, for people.
func commandLine(p api.ProcessInfo) string {
	words := make([]string, 0, len(p.Args)+1)
	for _, word := range append([]string{p.Command}, p.Args...) {
		if word == "" || strings.ContainsAny(word, " \t\n\"'") {
			word = strconv.Quote(word)
		}
		words = append(words, printable(word))
	}
	return strings.Join(words, " ")
}

// commandOptions say how a program is started.
type commandOptions struct {
	cwd string
	env []string
}

func (o *commandOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the program is its own
	f.StringVarP(&o.cwd, "cwd", "C", "", "directory to run in "+relativeCWD)
	f.StringArrayVar(&o.env, "env", nil, "variable to add, as NAME=VALUE (repeatable)")
}

// request returns the program as the API wants it.
func (o *commandOptions) request(ctx context.Context, g *globals, c *sandboxagent.Client, args []string) (api.ProcessCreateRequest, error) {
	req := api.ProcessCreateRequest{Command: args[0], Args: args[1:]}
	if o.cwd = g.cwdOnServer(ctx, c, o.cwd); o.cwd != "" {
		req.Cwd = &o.cwd
	}
	for _, pair := range o.env {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return req, usagef("--env %q is not of the form NAME=VALUE", pair)
		}
		if req.Env == nil {
			req.Env = make(map[string]string)
		}
		req.Env[name] = value
	}
	return req, nil
}

// runFlags are the flags of process run.
type runFlags struct {
	commandOptions
	timeout time.Duration
	stdin   bool
}

func newProcessRun(g *globals) *cobra.Command {
	o := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run PROGRAM [ARG...]",
		Short: "Run a program to its end",
		Long: `Run a program to its end, showing what it writes as it does. It is killed, with
everything it started, when you interrupt or when --timeout is over. Afterwards
the server forgets it. With --json the result is one object, and output over the
server's limit is cut.

Exit codes: that of the program; 128+N if signal N ended it; 124 when its time
was over; 125 if it was not run, or wrote more than the server keeps before it
could be read; 2 the command was not understood.`,
		Example: `  sandbox-agent process run ls -l
  sandbox-agent process run --timeout 5m --cwd /work -- go test ./...
  tar -c . | sandbox-agent process run --stdin -- tar -tv`,
		Args: arguments(1, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			err := o.run(ctx, g, c, args)
			var usage usageError
			var status exitStatus
			if err == nil || errors.As(err, &usage) || errors.As(err, &status) || ctx.Err() != nil {
				return err
			}
			exitCode(g, g.explain(c, err))
			return exitStatus(exitNotRun)
		}),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.DurationVar(&o.timeout, "timeout", 0, "time the program has, such as 90s (default as long as it takes)")
	f.BoolVarP(&o.stdin, "stdin", "i", false, "hand on standard input")
	return cmd
}

func (o *runFlags) run(ctx context.Context, g *globals, c *sandboxagent.Client, args []string) error {
	req, err := o.request(ctx, g, c, args)
	if err != nil {
		return err
	}
	if g.json {
		return o.runWhole(ctx, g, c, req)
	}
	cmd := c.Command(ctx, req.Command, req.Args...)
	cmd.Dir, cmd.Env, cmd.Timeout = o.cwd, o.env, o.timeout
	cmd.Stdout, cmd.Stderr = g.env.Out, g.env.Err
	if o.stdin {
		cmd.Stdin = g.env.In
	}
	signal.Ignore(syscall.SIGPIPE) // it would end this command alone
	err = cmd.Run()
	var exit *sandboxagent.ExitError
	switch {
	case errors.Is(err, syscall.EPIPE):
		return exitStatus(128 + int(syscall.SIGPIPE))
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(g.env.Err, "sandbox-agent: killed: not done within %v\n", o.timeout)
		return exitStatus(exitTimeout)
	case errors.As(err, &exit):
		return exitOf(exit.ProcessInfo.ExitCode, exit.ExitSignal)
	}
	return err
}

// runWhole runs a program and prints the result as one object.
func (o *runFlags) runWhole(ctx context.Context, g *globals, c *sandboxagent.Client, req api.ProcessCreateRequest) error {
	if o.stdin {
		return usagef("--json runs without input, so it does not go with --stdin")
	}
	run := api.ProcessRunRequest{Command: req.Command, Args: req.Args, Cwd: req.Cwd, Env: req.Env}
	if o.timeout > 0 {
		ms := max(1, o.timeout.Milliseconds())
		run.TimeoutMs = &ms
	}
	result, err := c.RunProcess(ctx, run)
	if err != nil {
		return err
	}
	if err := printJSON(g.env.Out, result); err != nil {
		return err
	}
	if result.TimedOut {
		return exitStatus(exitTimeout)
	}
	return exitOf(result.ExitCode, result.ExitSignal)
}

// exitOf passes on how a process ended.
func exitOf(code *int, signal string) error {
	switch {
	case code != nil && *code == 0:
		return nil
	case code != nil:
		return exitStatus(*code)
	}
	if number := unix.SignalNum(signal); number != 0 {
		return exitStatus(128 + int(number))
	}
	return exitStatus(exitNotRun)
}

func newProcessStart(g *globals) *cobra.Command {
	o := &commandOptions{}
	var tty bool
	cmd := &cobra.Command{
		Use:   "start PROGRAM [ARG...]",
		Short: "Start a program that runs on",
		Long: `Start a program that runs on until it ends or is stopped, and print its id. With
--tty it gets a terminal; see sandbox-agent terminal --attach.`,
		Example: `  id=$(sandbox-agent process start -- npm run dev)
  sandbox-agent process logs --follow $id`,
		Args: arguments(1, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			req, err := o.request(ctx, g, c, args)
			if err != nil {
				return err
			}
			req.TTY = tty
			p, err := c.StartProcess(ctx, req)
			if err != nil {
				return err
			}
			if !g.json {
				_, err = fmt.Fprintln(g.env.Out, p.ID)
				return err
			}
			info, err := p.Info(ctx)
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, info)
		}),
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&tty, "tty", false, "give it a terminal")
	return cmd
}

func newProcessList(g *globals) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List processes",
		Long:    "List processes, running or ended, in the order of their start: id, pid, how they\nare, command. With --json the list as the API has it.",
		Example: "  sandbox-agent process ls",
		Args:    arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			all, err := c.Processes(ctx, api.ProcessOwner(owner))
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, api.ProcessList{Processes: all})
			}
			t := table{give: []int{3}, none: "no processes"}
			t.row("ID", "PID", "STATE", "COMMAND")
			for _, p := range all {
				pid := "-"
				if p.PID > 0 {
					pid = strconv.Itoa(p.PID)
				}
				t.row(p.ID, pid, processState(p), commandLine(p))
			}
			return t.print(g)
		}),
	}
	cmd.Flags().StringVar(&owner, "owner", "", "only those of user, desktop or system")
	return cmd
}

// processState is one word, so that columns stay columns.
func processState(p api.ProcessInfo) string {
	switch {
	case p.Status != api.ProcessExited:
		return string(p.Status)
	case p.ExitSignal != "":
		return p.ExitSignal
	case p.ExitCode != nil:
		return "exit=" + strconv.Itoa(*p.ExitCode)
	}
	return string(p.Status)
}

func newProcessLogs(g *globals) *cobra.Command {
	var opts sandboxagent.LogsOptions
	var tail int
	var stream string
	var times bool
	cmd := &cobra.Command{
		Use:   "logs ID",
		Short: "Print what a process wrote",
		Long: `Print what a process wrote, to the stream to which it wrote it. With --follow, go
on until it ends. Output that is no longer kept is told on standard error. With
--json each entry is an object on a line.`,
		Example: `  sandbox-agent process logs --follow proc_1
  sandbox-agent process logs --tail 20 --stream stderr proc_1`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeProcess,
	}
	cmd.RunE = g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
		opts.Stream = api.LogStream(stream)
		if cmd.Flags().Changed("tail") {
			if opts.Tail = tail; tail <= 0 {
				opts.Tail = -1
			}
		}
		p, err := findProcess(ctx, c, args[0])
		if err != nil {
			return err
		}
		for entry, err := range p.Logs(ctx, opts) {
			var lost *sandboxagent.OutputLostError
			if errors.As(err, &lost) {
				fmt.Fprintln(g.env.Err, "sandbox-agent:", lost)
				continue
			}
			if err == nil {
				err = g.printEntry(entry, times)
			}
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	f := cmd.Flags()
	f.BoolVarP(&opts.Follow, "follow", "f", false, "go on until the process ends")
	f.IntVar(&tail, "tail", 0, "only the last so many entries")
	f.Uint64Var(&opts.Since, "since", 0, "only what comes after the entry of this sequence")
	f.StringVar(&stream, "stream", "", "stdout, stderr, combined or pty (default combined)")
	f.BoolVar(&times, "timestamps", false, "put sequence, time and stream in front of every entry")
	return cmd
}

func (g *globals) printEntry(e api.LogEntry, times bool) error {
	if g.json {
		return g.printLine(e)
	}
	out := g.env.Out
	if e.Stream == api.LogStderr {
		out = g.env.Err
	}
	data := e.Data
	if times {
		data = fmt.Appendf(nil, "%d %s %s %s\n", e.Sequence, time.UnixMilli(e.TimestampMs).UTC().Format("2006-01-02T15:04:05.000Z"), e.Stream, strings.TrimSuffix(string(data), "\n"))
	}
	_, err := out.Write(data)
	return err
}

func newProcessInput(g *globals) *cobra.Command {
	var end bool
	cmd := &cobra.Command{
		Use:   "input ID [TEXT]",
		Short: "Write to the input of a process",
		Long: `Write to the input of a process: the text, or what is on standard input, as it
comes. Nothing is added to it, no end of line either.`,
		Example: `  sandbox-agent process input proc_1 $'yes\n'
  sandbox-agent process input --close proc_1 < answers`,
		Args:              arguments(1, 2),
		ValidArgsFunction: g.completeProcess,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			p, err := findProcess(ctx, c, args[0])
			if err != nil {
				return err
			}
			in := g.env.In
			if len(args) == 2 {
				in = strings.NewReader(args[1])
			}
			if _, err := io.Copy(inputOf{ctx, p}, in); err != nil {
				return err
			}
			if end {
				return p.CloseInput(ctx)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&end, "close", false, "end the input afterwards")
	return cmd
}

// inputOf writes to the input of a process.
type inputOf struct {
	ctx context.Context
	p   *sandboxagent.Process
}

func (w inputOf) Write(data []byte) (int, error) { return w.p.Input(w.ctx, data) }

func newProcessStop(g *globals) *cobra.Command {
	return newProcessEnd(g, "stop", "Ask a process to end",
		"Ask a process, and everything it started, to end, and wait for a moment whether it\ndoes. One that has ended is no error; one that does not end is.",
		"SIGTERM", (*sandboxagent.Process).Stop)
}

func newProcessKill(g *globals) *cobra.Command {
	return newProcessEnd(g, "kill", "Kill a process", "Kill a process and everything it started.",
		"SIGKILL", (*sandboxagent.Process).Kill)
}

type endFunc func(*sandboxagent.Process, context.Context, sandboxagent.StopOptions) (*api.ProcessInfo, error)

func newProcessEnd(g *globals, verb, short, long, signal string, end endFunc) *cobra.Command {
	var opts sandboxagent.StopOptions
	cmd := &cobra.Command{
		Use:               verb + " ID...",
		Short:             short,
		Long:              long,
		Example:           "  sandbox-agent process " + verb + " proc_1",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeProcess,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, id := range args {
				p, err := findProcess(ctx, c, id)
				if err != nil {
					return err
				}
				info, err := end(p, ctx, opts)
				if err != nil {
					return err
				}
				if g.json {
					err = printJSON(g.env.Out, info)
				}
				if err != nil {
					return err
				}
				if opts.Wait > 0 && info.Status == api.ProcessRunning {
					return fmt.Errorf("process %s still runs after %v; kill it with: %s", id, opts.Wait, g.command("process kill", p.ID))
				}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&opts.Signal, "signal", "s", "", "another signal (default "+signal+")")
	f.DurationVar(&opts.Wait, "wait", 5*time.Second, "how long to wait for the end; 0 does not wait")
	return cmd
}

func newProcessRemove(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "rm ID...",
		Short:             "Forget processes that have ended",
		Long:              "Forget processes that have ended, and what they wrote. One that runs is an error.",
		Example:           "  sandbox-agent process rm proc_1 proc_2",
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeProcess,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, id := range args {
				p, err := findProcess(ctx, c, id)
				if err == nil {
					err = p.Delete(ctx)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

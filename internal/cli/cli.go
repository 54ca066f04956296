// Package cli is the command line. It is the only reader of flags and of the
// environment; everything else is handed its configuration as values.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
	"github.com/sandboxagent/sandboxagent/internal/child/reaper"
)

// The exit codes of all commands. Commands that have more say so in their help.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Environment is the world a command runs in, so that tests can make their own.
type Environment struct {
	Args    []string // without the program's name
	Env     []string // KEY=value
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Home    string
	Dir     string // working directory
	Exe     string // path of this program
	Signals <-chan os.Signal

	// EnsureParent starts this program again as the child of this process, if it is
	// a server without a parent; see package reaper. Nil does without one.
	EnsureParent func() error

	InTerminal  bool // In is a terminal
	OutTerminal bool // Out is a terminal
	ErrTerminal bool // Err is a terminal
}

// System returns the environment of this process.
func System() Environment {
	reaper.Join()
	if os.Getenv("PATH") == "" { // as under some supervisors; nothing would be found
		_ = os.Setenv("PATH", child.StandardPath)
	}
	home, _ := os.UserHomeDir()
	if u, err := user.Current(); home == "" && err == nil {
		home = u.HomeDir // as in a container whose programs are started without HOME
	}
	dir, _ := os.Getwd()
	exe, _ := os.Executable()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	return Environment{
		Args: conceal.Args()[1:], Env: conceal.Environ(), In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Home: home, Dir: dir, Exe: exe, Signals: signals, EnsureParent: reaper.Ensure,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// lookup returns a variable of the environment; unset and empty are the same.
func (e Environment) lookup(key string) string {
	for i := len(e.Env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(e.Env[i], key+"="); ok {
			return value
		}
	}
	return ""
}

// forChildren returns the variables but those that are for the server alone: its
// token, or the file that has it, and the socket of the service manager.
func (e Environment) forChildren() []string {
	return slices.DeleteFunc(slices.Clone(e.Env), func(kv string) bool {
		return strings.HasPrefix(kv, "SANDBOX_AGENT_TOKEN") || strings.HasPrefix(kv, "NOTIFY_SOCKET=")
	})
}

// dataDir is where everything that lasts is kept unless --data-dir says else.
func (e Environment) dataDir() string {
	if xdg := e.lookup("XDG_DATA_HOME"); xdg != "" {
		return filepath.Join(xdg, "sandbox-agent")
	}
	return filepath.Join("/", e.Home, ".local", "share", "sandbox-agent")
}

// exitStatus is an error that says only how to exit; what there is to say was
// said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a fault of the command line that was typed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// globals are the flags of every command.
type globals struct {
	env      Environment
	token    string
	noToken  bool
	endpoint string
	sandbox  string // id of the sandbox to use in place of an endpoint
	json     bool
	dataDir  string
	logLevel string

	atEnd []func() // what closes what the command has opened

	sameFiles *bool // the server has those of the working directory; nil until that was looked up
}

// Main runs one command and returns its exit code.
func Main(env Environment) int {
	g := &globals{env: env}
	root := newRoot(g)
	root.SetArgs(env.Args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	g.addCompletion(root)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := root.ExecuteContext(ctx)
	for _, end := range g.atEnd {
		end()
	}
	return exitCode(g, err)
}

// exitCode reports err, as people or programs want it, and returns the code to
// exit with.
func exitCode(g *globals, err error) int {
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(g.env.Err, "sandbox-agent: %v\n", err)
		return exitUsage
	}
	if !g.json {
		fmt.Fprintf(g.env.Err, "sandbox-agent: %s%s\n", words(err), lookup(err))
		return exitError
	}
	var problem *api.Error
	if errors.As(err, &problem) {
		printJSON(g.env.Err, problem)
	} else {
		printJSON(g.env.Err, map[string]string{"type": "about:blank", "title": "Error", "detail": err.Error()})
	}
	return exitError
}

// lookup names the command that lists what an id was mistyped of.
func lookup(err error) string {
	switch {
	case errors.Is(err, api.CodeSessionNotFound):
		return "; see sandbox-agent sessions ls"
	case errors.Is(err, api.CodeProcessNotFound):
		return "; see sandbox-agent process ls"
	case errors.Is(err, api.CodeSandboxNotFound):
		return "; see sandbox-agent sandbox ls"
	case errors.Is(err, api.CodeUnsupportedAgent):
		return "; see sandbox-agent agents list"
	}
	return ""
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "sandbox-agent",
		Short: "Run coding agents in a sandbox, and serve them over HTTP",
		Long: `Run coding agents (Claude Code, Codex, OpenCode, Pi, ...) in a sandbox, and serve
them, with the files, processes and terminals around them, over one HTTP API.

  sandbox-agent run "add a README that says hello"    give an agent a task, here and now
  sandbox-agent server                                serve the API on http://127.0.0.1:2468

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood.`,
		Version:       Version().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	g.wantVerb(root)
	// Before the framework does, whose errors are not told from others.
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
	root.SetVersionTemplate("sandbox-agent {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text := err.Error()
		if number := new(strconv.NumError); errors.As(err, &number) {
			text = strings.Replace(text, number.Error(), number.Err.Error(), 1)
		}
		return usagef("%s; see %s --help", text, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&g.token, "token", "t", "", "bearer token of the server (default $SANDBOX_AGENT_TOKEN)")
	flags.BoolVarP(&g.noToken, "no-token", "n", false, "use no token, even if the environment has one")
	flags.BoolVar(&g.json, "json", false, "print JSON")
	flags.StringVar(&g.dataDir, "data-dir", "", "where data is kept (default $XDG_DATA_HOME/sandbox-agent or ~/.local/share/sandbox-agent)")
	flags.StringVar(&g.logLevel, "log-level", "", "debug, info, warn or error (default $SANDBOX_AGENT_LOG, else info for servers and warn for the rest)")
	root.AddCommand(commands(g)...)
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	must(err)
	help.Example = "  sandbox-agent help sessions prompt"
	help.Args = func(_ *cobra.Command, args []string) error {
		if found, rest, _ := root.Find(args); len(rest) > 0 {
			return unknownCommand(found, rest[0])
		}
		return nil
	}
	return root
}

// data returns the directory that holds everything that lasts, as an absolute path:
// agents are started from it in other directories.
func (g *globals) data() string { return g.path(cmp.Or(g.dataDir, g.env.dataDir())) }

// bearer returns the token to send or to ask for: flag, then environment.
func (g *globals) bearer() string {
	switch {
	case g.token != "":
		return g.token
	case g.noToken:
		return ""
	}
	return g.env.lookup("SANDBOX_AGENT_TOKEN")
}

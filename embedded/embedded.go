// Package embedded runs a whole sandbox-agent server inside the calling
// program and gives a client of it. Agents, processes and files are those of
// this machine; nothing is isolated from anything.
//
// A program that must stay small imports the SDK alone and talks to a server
// elsewhere: this package links all of it.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/cli"
)

// Options say how the server runs. In the zero value agents have no
// environment, so most callers set Env to os.Environ().
type Options struct {
	DataDir string   // where events, agents and logs are kept; empty means a temporary directory that is removed with the server
	Home    string   // what relative paths start from and where credentials are looked for; empty means the home directory of the user
	Dir     string   // where sessions work that name no directory; empty means the working directory
	Env     []string // of agents and processes, as KEY=value

	// Executable is a sandbox-agent program, which is run as the mock agent.
	// Empty means this program, whose main function then has to begin with
	// [Main].
	Executable string

	// AgentCommands adds agents, or replaces how they are started, by id.
	AgentCommands map[string][]string

	Limits  api.Limits   // zeros mean the defaults
	Logger  *slog.Logger // nil means none
	Version string       // of the program, for GET /v1/version

	Client []sandboxagent.Option // of the client
}

// A Server is a server in this program and a client of it.
type Server struct {
	*sandboxagent.Client

	running *app.Running
	tempDir string

	closing sync.Once
	err     error
}

// Main lets a program that embeds a server be its mock agent as well: it runs the
// agent and ends the program if the server has started it as that, and otherwise
// does nothing.
func Main() {
	if cli.StartedAsMock() {
		os.Exit(cli.Main(cli.System()))
	}
}

// errNoMain keeps a program from starting itself for ever.
var errNoMain = errors.New("this program was started as the mock agent: let its main function begin with embedded.Main(), or name a sandbox-agent program in Options.Executable")

// Start runs a server on a free port of 127.0.0.1, with a token that only its
// client knows, until [Server.Close].
func Start(ctx context.Context, opts Options) (*Server, error) {
	s, err := start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, opts Options) (_ *Server, err error) {
	if cli.StartedAsMock() {
		return nil, errNoMain
	}
	s := &Server{}
	if opts.DataDir == "" {
		if s.tempDir, err = os.MkdirTemp("", "sandbox-agent-"); err != nil {
			return nil, err
		}
		opts.DataDir = s.tempDir
	}
	defer func() {
		if err != nil && s.tempDir != "" {
			os.RemoveAll(s.tempDir)
		}
	}()
	if err := opts.complete(); err != nil {
		return nil, err
	}
	s.running, err = app.Start(app.Config{
		Version: opts.Version, DataDir: opts.DataDir, Home: opts.Home, Env: opts.Env,
		SelfExe: opts.Executable, AgentCommands: opts.AgentCommands,
		Limits: opts.Limits, Logger: opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	client := append([]sandboxagent.Option{sandboxagent.WithDir(opts.Dir)}, opts.Client...)
	s.Client = sandboxagent.New(s.running.URL, append(client, sandboxagent.WithToken(s.running.Token))...)
	if err := s.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// complete sets what was left empty.
func (o *Options) complete() (err error) {
	if o.Home == "" {
		if o.Home, err = os.UserHomeDir(); err != nil {
			return err
		}
	}
	if o.Dir == "" {
		if o.Dir, err = os.Getwd(); err != nil {
			return err
		}
	}
	if o.Executable == "" {
		if o.Executable, err = os.Executable(); err != nil {
			return err
		}
	}
	o.Env = slices.Clone(o.Env)
	return nil
}

// Close ends the agents of the client and then the server with everything that
// it runs. Closing twice is not an error.
func (s *Server) Close() error {
	s.closing.Do(func() {
		s.err = errors.Join(s.Client.Close(), s.running.Close())
		if s.tempDir != "" {
			s.err = errors.Join(s.err, os.RemoveAll(s.tempDir))
		}
	})
	return s.err
}

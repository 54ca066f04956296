//go:build unix

package sandboxagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// A StartOption says what [Start] starts, or finds.
type StartOption func(*starter)

type starter struct {
	provider provider.Provider
	spec     *provider.Spec
	id       string
	local    local.Config
	client   []Option
}

// WithProvider sets what makes the sandbox, or finds it. Without it that is the
// provider local, which isolates nothing.
func WithProvider(p provider.Provider) StartOption { return func(s *starter) { s.provider = p } }

// WithSpec sets what sandbox to make. Without it, it works in the current directory
// of this program and ends with this program, in whatever way that ends.
func WithSpec(spec provider.Spec) StartOption { return func(s *starter) { s.spec = &spec } }

// WithSandbox finds the sandbox with an id in place of making one.
func WithSandbox(id string) StartOption { return func(s *starter) { s.id = id } }

// WithLocal configures the provider local where no other is given. Fields that are
// zero have a default: the sandbox-agent of PATH, or that of SANDBOX_AGENT_BIN if
// [FromEnv] is among the options of the client; the state directory of the user,
// see [provider.StateDir]; the environment of this program.
func WithLocal(cfg local.Config) StartOption { return func(s *starter) { s.local = cfg } }

// WithClient sets options of the client.
func WithClient(opts ...Option) StartOption {
	return func(s *starter) { s.client = append(s.client, opts...) }
}

// A Sandbox is a sandbox of a provider, and a client of its server. Its methods may
// be called from several goroutines.
type Sandbox struct {
	*Client

	provider provider.Provider
	id       string
	bound    bool // it was made to end with this program
}

// Start makes a sandbox and returns when its server answers, its files are written,
// and its bootstrap commands have succeeded; what fails leaves nothing. Without
// options it starts a server on this machine, in the current directory. The context
// bounds the start only.
func Start(ctx context.Context, opts ...StartOption) (*Sandbox, error) {
	s := new(starter)
	for _, opt := range opts {
		opt(s)
	}
	sandbox, err := s.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	return sandbox, nil
}

func (s *starter) start(ctx context.Context) (*Sandbox, error) {
	if s.provider == nil {
		cfg, err := s.localConfig()
		if err != nil {
			return nil, err
		}
		s.provider = local.New(cfg)
	}
	instance, err := s.instance(ctx)
	if err != nil {
		return nil, err
	}
	sandbox := &Sandbox{provider: s.provider, id: instance.ID, bound: s.id == "" && instance.Spec.Bound}
	transport, ok := newTransport().(*http.Transport)
	if !ok {
		return nil, errors.New("the default transport of net/http was replaced by one that dials no sandbox")
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return sandbox.Dial(ctx) }
	client := append([]Option{WithHTTPClient(&http.Client{Transport: transport}), WithDir(instance.WorkDir)}, s.client...)
	sandbox.Client = New(cmp.Or(instance.URL, "http://sandbox"), append(client, WithToken(string(instance.Token)))...)
	return sandbox, nil
}

func (s *starter) instance(ctx context.Context) (*provider.Instance, error) {
	if s.id != "" {
		return s.provider.Get(ctx, s.id)
	}
	if s.spec == nil {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		s.spec = &provider.Spec{Workspace: provider.Workspace{Dir: dir}, Bound: true}
	}
	return s.provider.Create(ctx, *s.spec)
}

func (s *starter) localConfig() (local.Config, error) {
	cfg := s.local
	if cfg.StateDir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return cfg, err
		}
		cfg.StateDir = provider.StateDir(os.Getenv("XDG_STATE_HOME"), home)
	}
	name, hint := cfg.Binary, "WithLocal"
	if name == "" {
		name, hint = New("http://localhost", s.client...).binary, "SANDBOX_AGENT_BIN"
	}
	found, err := exec.LookPath(cmp.Or(name, "sandbox-agent"))
	switch {
	case err != nil && name == "":
		return cfg, fmt.Errorf("%w; install it, or name it with WithLocal, or in SANDBOX_AGENT_BIN with FromEnv", err)
	case err != nil:
		return cfg, fmt.Errorf("%s: %w", hint, err)
	}
	cfg.Binary, err = filepath.Abs(found)
	return cfg, err
}

// ID returns the id of the sandbox, by which [WithSandbox] finds it again.
func (s *Sandbox) ID() string { return s.id }

// Instance returns the sandbox as it is now.
func (s *Sandbox) Instance(ctx context.Context) (*provider.Instance, error) {
	return s.provider.Get(ctx, s.id)
}

// Dial connects to the server of the sandbox.
func (s *Sandbox) Dial(ctx context.Context) (net.Conn, error) {
	instance, err := s.provider.Get(ctx, s.id)
	if err != nil {
		return nil, err
	}
	return instance.Dial(ctx)
}

// cannot is the error for an ability that a provider does not have.
func cannot(verb string) error {
	return api.NewError(api.KindNotSupported, "", "the provider cannot %s a sandbox", verb)
}

// Pause stops everything in the sandbox where it is. Calls of the client fail until
// [Sandbox.Resume].
func (s *Sandbox) Pause(ctx context.Context) error {
	if p, ok := provider.As[provider.Pauser](s.provider); ok {
		return p.Pause(ctx, s.id)
	}
	return cannot("pause")
}

// Resume lets a paused sandbox go on.
func (s *Sandbox) Resume(ctx context.Context) error {
	if p, ok := provider.As[provider.Resumer](s.provider); ok {
		return p.Resume(ctx, s.id)
	}
	return cannot("resume")
}

// Restart ends everything in the sandbox and starts its server again. Files and
// sessions stay; a session comes back with its next prompt. It also starts a sandbox
// that was killed, or has failed.
func (s *Sandbox) Restart(ctx context.Context) error {
	p, ok := provider.As[provider.Restarter](s.provider)
	if !ok {
		return cannot("restart")
	}
	err := p.Restart(ctx, s.id)
	s.http.CloseIdleConnections()
	return err
}

// Kill ends everything in the sandbox at once. Its files stay.
func (s *Sandbox) Kill(ctx context.Context) error {
	if p, ok := provider.As[provider.Killer](s.provider); ok {
		return p.Kill(ctx, s.id)
	}
	return cannot("kill")
}

// Destroy ends everything in the sandbox and removes all that is kept of it, its
// sessions and an empty workspace with what is in there included. A directory that
// was bound stays.
func (s *Sandbox) Destroy(ctx context.Context) error {
	err := s.provider.Destroy(ctx, s.id)
	return errors.Join(err, s.Client.Close())
}

// Exec runs a command in the sandbox to its end. A command that does not end well is
// no error.
func (s *Sandbox) Exec(ctx context.Context, name string, arg ...string) (*api.ProcessRunResult, error) {
	if p, ok := provider.As[provider.Execer](s.provider); ok {
		return p.Exec(ctx, s.id, api.ProcessRunRequest{Command: name, Args: arg})
	}
	return nil, cannot("run a command in")
}

// Logs returns the newest output of the server and of what started it.
func (s *Sandbox) Logs(ctx context.Context) ([]byte, error) {
	if p, ok := provider.As[provider.Logger](s.provider); ok {
		return p.Logs(ctx, s.id)
	}
	return nil, cannot("read the log of")
}

// Close destroys a sandbox that [Start] made to end with this program, and leaves
// every other one as it is. Closing twice is not an error.
func (s *Sandbox) Close() error {
	if !s.bound {
		return s.Client.Close()
	}
	err := s.Destroy(context.Background())
	if errors.Is(err, api.CodeSandboxNotFound) {
		err = nil
	}
	return err
}

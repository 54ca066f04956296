package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// loginShell starts the shell of the user of the server.
const loginShell = `exec "${SHELL:-$(command -v bash || echo sh)}" -l`

// endOfInput is what a terminal takes for the end of a file, for one reader: it
// is typed again every now and then, for those that come later.
const (
	endOfInput = 0x04
	endAgain   = 200 * time.Millisecond
)

// terminalOptions are the flags of the terminal command.
type terminalOptions struct {
	commandOptions
	attach   string
	noReplay bool
	key      string
}

func newTerminal(g *globals) *cobra.Command {
	o := &terminalOptions{}
	cmd := &cobra.Command{
		Use:   "terminal [PROGRAM [ARG...]]",
		Short: "Open a terminal in a sandbox",
		Long: `Open a terminal in a sandbox, with a program or with a login shell. It takes the
size of yours, and follows it.

The detach key, ctrl-] unless --detach-key says else, leaves the terminal with its
program running. Come back with --attach, which shows again what was on it; any
number may be attached at once. A connection that breaks is opened again, and nothing
of the output is lost.

Exit codes: that of the program; 128+N if signal N ended it; 0 detached; 1
something went wrong; 2 the command was not understood.`,
		Example: `  sandbox-agent terminal
  sandbox-agent terminal --cwd /work -- htop
  sandbox-agent terminal --attach proc_1`,
		Args: arguments(0, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			return o.run(ctx, g, c, args)
		}),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.attach, "attach", "a", "", "attach to the terminal of this process")
	f.BoolVar(&o.noReplay, "no-replay", false, "with --attach, show only what comes next")
	f.StringVar(&o.key, "detach-key", "ctrl-]", "key that leaves the terminal, as ctrl-X; none for no key")
	must(cmd.RegisterFlagCompletionFunc("attach", g.completeProcess))
	return g.endpointFlag(cmd, defaultEndpoint)
}

func (o *terminalOptions) run(ctx context.Context, g *globals, c *sandboxagent.Client, args []string) error {
	key, err := controlKey(o.key)
	if err != nil {
		return err
	}
	if o.attach != "" && len(args) > 0 {
		return usagef("give a program or --attach, not both")
	}
	t, err := o.open(ctx, g, c, args)
	if err != nil {
		return err
	}
	defer t.Close()
	s := &screen{g: g, t: t, key: key}
	end, err := s.show(ctx)
	if s.detached {
		return nil
	}
	if err != nil {
		return err
	}
	if o.attach == "" {
		// It was there for this terminal only; what it wrote has been seen.
		if err := t.Process.Delete(ctx); err != nil && !errors.Is(err, api.CodeProcessNotFound) {
			return err
		}
	}
	return exitOf(end.ExitCode, end.ExitSignal)
}

// open attaches to a terminal, or starts a program in a new one.
func (o *terminalOptions) open(ctx context.Context, g *globals, c *sandboxagent.Client, args []string) (*sandboxagent.Terminal, error) {
	opts := sandboxagent.TerminalOptions{}
	opts.Cols, opts.Rows = g.terminalSize()
	if o.attach != "" {
		if !o.noReplay {
			opts.Since = new(uint64)
		}
		p, err := findProcess(ctx, c, o.attach)
		if err != nil {
			return nil, err
		}
		return p.Attach(ctx, opts)
	}
	if len(args) == 0 {
		args = []string{"sh", "-c", loginShell}
	}
	req, err := o.request(ctx, g, c, args)
	if err != nil {
		return nil, err
	}
	if name := g.env.lookup("TERM"); name != "" && req.Env["TERM"] == "" {
		if req.Env == nil {
			req.Env = make(map[string]string)
		}
		req.Env["TERM"] = name
	}
	return c.StartTerminal(ctx, req, opts)
}

// fileOf returns the file behind a stream, for what only works on files.
func fileOf(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok
}

// terminalSize returns the size of the terminal that this command runs in, or
// zeros.
func (g *globals) terminalSize() (cols, rows uint16) {
	file, ok := fileOf(g.env.Out)
	if !ok || !g.env.OutTerminal {
		return 0, 0
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return uint16(width), uint16(height)
}

// controlKey reads the name of a key, such as ctrl-]. No key is 0.
func controlKey(name string) (byte, error) {
	if name == "none" {
		return 0, nil
	}
	letter, ok := strings.CutPrefix(strings.ToLower(name), "ctrl-")
	if !ok || len(letter) != 1 || letter[0] < '[' || letter[0] > 'z' || letter[0] == '`' {
		return 0, usagef("--detach-key %q is not of the form ctrl-X, nor none", name)
	}
	return letter[0] & 0x1f, nil
}

// screen shows a terminal of a sandbox in that of the user.
type screen struct {
	g        *globals
	t        *sandboxagent.Terminal
	key      byte // 0 is none
	detached bool // valid once show has returned
}

// show runs until the program ends, the user detaches or ctx ends.
func (s *screen) show(ctx context.Context) (*api.ProcessInfo, error) {
	restore, err := s.raw()
	if err != nil {
		return nil, err
	}
	defer restore()
	defer s.followSize(ctx)()
	detach := make(chan struct{})
	go s.typing(detach)
	shown := make(chan error, 1)
	go func() { shown <- s.output() }()
	select {
	case <-detach:
		s.detached = true
		restore()
		_, err := s.t.Detach()
		<-shown
		fmt.Fprintf(s.g.env.Err, "\ndetached; come back with: %s\n", s.g.command("terminal", "--attach", s.t.Process.ID))
		return nil, err
	case err := <-shown:
		if err != nil {
			return nil, err
		}
	}
	return s.t.Wait(ctx)
}

// raw hands every key to the sandbox, until restore. Restoring twice is no
// error.
func (s *screen) raw() (restore func(), err error) {
	file, ok := fileOf(s.g.env.In)
	if !ok || !s.g.env.InTerminal {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("prepare terminal: %w", err)
	}
	return func() { _ = term.Restore(int(file.Fd()), state) }, nil
}

// followSize keeps the size of the terminal that of the user's, until stop.
func (s *screen) followSize(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			cols, rows := s.g.terminalSize()
			if cols == 0 || rows == 0 {
				continue
			}
			ask, end := context.WithTimeout(ctx, askTimeout)
			_ = s.t.Resize(ask, cols, rows) // the program may have ended
			end()
		}
	}()
	return func() {
		signal.Stop(changed)
		cancel()
		<-done
	}
}

// typing sends what is typed. It closes detach at the detach key, and ends with
// the program at the latest; it is not waited for, since nothing ends a Read of
// standard input.
func (s *screen) typing(detach chan<- struct{}) {
	buf := make([]byte, 4<<10)
	for {
		n, err := s.g.env.In.Read(buf)
		data := buf[:n]
		at := -1
		if s.key != 0 && s.g.env.InTerminal {
			at = strings.IndexByte(string(data), s.key)
		}
		if at >= 0 {
			data = data[:at]
		}
		if len(data) > 0 {
			if _, err := s.t.Write(data); err != nil {
				return
			}
		}
		if at >= 0 {
			close(detach)
			return
		}
		if err != nil {
			break
		}
	}
	if s.g.env.InTerminal {
		return
	}
	for {
		if _, err := s.t.Write([]byte{endOfInput}); err != nil {
			return
		}
		time.Sleep(endAgain)
	}
}

// output shows what the terminal shows. It returns nil at its end.
func (s *screen) output() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.t.Read(buf)
		if _, err := s.g.env.Out.Write(buf[:n]); err != nil {
			return fmt.Errorf("write to terminal: %w", err)
		}
		var lost *sandboxagent.OutputLostError
		switch {
		case err == nil:
		case errors.As(err, &lost):
			fmt.Fprintf(s.g.env.Err, "\r\n[%v]\r\n", lost)
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

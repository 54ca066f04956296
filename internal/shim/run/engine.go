package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// An engine is what a provider does on this side: it says how the server gets into
// the sandbox. All its methods are called by the goroutine of the box.
type engine interface {
	// capabilities says what this host lets the engine do.
	capabilities(b *box) provider.Capabilities

	// prepare makes the directories of the sandbox and sets where its server
	// works. It is called once for each life of a shim.
	prepare(b *box) error

	// listen makes the socket that the server accepts from, and sets its address.
	listen(b *box) (*os.File, error)

	// launch starts the server with the given arguments. Its descriptors 3 and 4
	// are files; the server waits for the end of the second before it starts
	// anything, and launch puts it into the cgroups before that.
	launch(b *box, args []string, files []*os.File) (*child.Child, error)
}

// start starts the server and returns when it answers.
func (b *box) start(ctx context.Context) error {
	tokens, tokensOurs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer tokens.Close()
	defer tokensOurs.Close()
	args := []string{"server", "--listen", "fd:3", "--token-file", "fd:4", "--stop-with-stdin", "--work-dir", b.status.WorkDir}
	server, err := b.engine.launch(b, args, []*os.File{b.listener, tokens})
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	b.server = server
	b.status.Server = shim.ProcessOf(server.PID())
	for _, out := range []io.Reader{server.Stdout, server.Stderr} {
		b.output.Go(func() { io.Copy(b.log, out) })
	}
	tokens.Close()
	if _, err := io.WriteString(tokensOurs, b.token); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("hand token to server: %w", err)
	}
	tokensOurs.Close()
	return b.awaitServer(ctx)
}

// awaitServer returns when the server answers. The connection waits for it.
func (b *box) awaitServer(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-b.server.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err := b.call(ctx, http.MethodGet, "/v1/health", nil, nil)
	select {
	case <-b.server.Done():
		b.output.Wait()
		return api.NewError(api.KindInternal, api.CodeSandboxFailed, "the server ended before it answered: %v%s", b.server.Exit(), b.log.lastLines())
	default:
		return err
	}
}

func (b *box) call(ctx context.Context, method, path string, in, out any) error {
	dial := func(ctx context.Context) (net.Conn, error) { return shim.Dial(ctx, b.status.Network, b.status.Address) }
	return shim.Call(ctx, dial, b.token, method, path, in, out)
}

// listenUnix makes a socket in the directory of the sandbox, which nobody else can
// enter.
func listenUnix(b *box) (*os.File, error) {
	listener, err := shim.Listen(b.dir.Server())
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	b.status.Network, b.status.Address = "unix", b.dir.Server()
	return listener.File()
}

// listenTCP makes a socket on the loopback of the host, so that other programs of
// the user find the server. A sandbox that is started again keeps its port if it
// can.
func listenTCP(b *box) (*os.File, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	b.status.Network, b.status.Address = "tcp", listener.Addr().String()
	return listener.(*net.TCPListener).File()
}

// makeDirs makes directories of the sandbox that belong to the user that it runs
// as.
func (b *box) makeDirs(uid int, names ...string) error {
	for _, name := range names {
		dir := filepath.Join(string(b.dir), name)
		if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
			return err
		}
		if uid != os.Geteuid() {
			if err := os.Lchown(dir, uid, uid); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkWorkspace reports a bound workspace that is no directory.
func (b *box) checkWorkspace() error {
	w := b.record.Spec.Workspace
	if w.Mode != provider.WorkspaceBind {
		return nil
	}
	info, err := os.Stat(w.Dir)
	if err != nil {
		return api.InvalidRequest(api.CodeInvalidSpec, "workspace: %w", err)
	}
	if !info.IsDir() {
		return api.InvalidRequest(api.CodeInvalidSpec, "workspace: %s is not a directory", w.Dir)
	}
	return nil
}

// bootstrapTimeout is how long one bootstrap command has if its spec says nothing.
const bootstrapTimeout = 5 * time.Minute

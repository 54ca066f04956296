// Package run is the shim: the process that owns one sandbox. It starts the server
// in the sandbox, does what comes over the control socket, and writes what the
// sandbox does into its directory, see package shim. Only the program
// sandbox-agent links it.
//
// A shim that is killed leaves nothing running: the kernel ends a sandbox with
// namespaces of its own with its parent, and the server of one without them ends
// with the pipe that it reads.
package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/internal/shim/model"
	"github.com/sandboxagent/sandboxagent/provider"
)

// Options are the world that a shim runs in.
type Options struct {
	Exe     string // the sandbox-agent program, which is the server
	Signals <-chan os.Signal
}

// box is the sandbox of this shim. It belongs to the goroutine of Run.
type box struct {
	dir    shim.Dir
	record shim.Record
	token  string
	opts   Options
	log    *rotatingLog
	user   shim.User        // only the provider local hands its environment on
	models *model.Forwarder // nil if the network has none

	engine engine
	groups *cgroup
	status shim.Status

	control  *net.UnixListener
	listener *os.File     // of the server, which outlives it
	server   *child.Child // nil if it does not run
	stopped  []int        // processes that a pause by signals has stopped
	output   sync.WaitGroup

	life chan struct{} // closed when the creator is gone
}

// Run owns the sandbox in dir until it is killed, destroyed, or fails. The
// descriptors of package shim are open.
func Run(dir shim.Dir, opts Options) error {
	closeOnExec()
	report := os.NewFile(shim.ReportFD, "report")
	defer report.Close()
	b, err := open(dir, opts)
	if err == nil {
		defer b.log.Close()
		err = b.begin(report)
	}
	if err != nil {
		sendReport(report, shim.Report{Error: problem(err)})
		return err
	}
	report.Close()
	return b.serve()
}

// maxFD is over any descriptor that a creator leaves open by mistake.
const maxFD = 1024

// closeOnExec keeps all descriptors out of the sandbox, also those that the creator
// did not know it had.
func closeOnExec() {
	for fd := shim.LockFD; fd < maxFD; fd++ {
		syscall.CloseOnExec(fd)
	}
}

func open(dir shim.Dir, opts Options) (*box, error) {
	if err := child.AdoptOrphans(); err != nil {
		return nil, err
	}
	user, err := readUser()
	if err != nil {
		return nil, err
	}
	record, err := dir.ReadRecord()
	if err != nil {
		return nil, err
	}
	token, err := dir.ReadToken()
	if err != nil {
		return nil, err
	}
	e, ok := engines[record.Provider]
	if !ok {
		return nil, api.NewError(api.KindNotSupported, api.CodeProviderUnavailable, "this build has no provider %q on this system", record.Provider)
	}
	b := &box{dir: dir, record: record, token: token, opts: opts, user: user, engine: e, life: make(chan struct{})}
	if b.log, err = openLog(dir.Log()); err != nil {
		return nil, err
	}
	if status, err := dir.ReadStatus(); err == nil {
		b.status = status
	}
	if network := record.Spec.Network; network == provider.NetworkModel || network == provider.NetworkOpen {
		access, err := b.access(user)
		if err != nil {
			return nil, err
		}
		b.models = model.New(dir.ID(), access, log.New(b.log, "shim: model forwarder: ", 0))
	}
	go func() {
		life := os.NewFile(shim.LifeFD, "life")
		io.Copy(io.Discard, life) // an error is an end as well
		life.Close()
		close(b.life)
	}()
	return b, nil
}

// readUser returns whose shim this is.
func readUser() (user shim.User, err error) {
	pipe := os.NewFile(shim.UserFD, "user")
	defer pipe.Close()
	if err := json.NewDecoder(pipe).Decode(&user); err != nil {
		return user, fmt.Errorf("read user: %w", err)
	}
	return user, nil
}

// problem is err as it goes over the report pipe and the control socket.
func problem(err error) *api.Error {
	var p *api.Error
	if errors.As(err, &p) {
		return p
	}
	return api.NewError(api.KindInternal, api.CodeSandboxFailed, "%w", err)
}

func sendReport(w io.Writer, report shim.Report) {
	data, err := json.Marshal(report)
	if err == nil {
		_, _ = w.Write(append(data, '\n')) // a creator that is gone is seen on the other pipe
	}
}

// begin makes the sandbox and reports that it is running, or leaves nothing of it.
func (b *box) begin(report io.Writer) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-b.life:
			cancel(errors.New("the creator ended"))
		case sig := <-b.opts.Signals:
			cancel(fmt.Errorf("the shim received %v", sig))
		case <-ctx.Done():
		}
	}()
	synced := make(chan error, 1)
	go func() { synced <- b.dir.Sync() }() // before the creator is told that the sandbox exists
	results, err := b.make(ctx)
	err = errors.Join(err, <-synced)
	if err == nil {
		b.control, err = shim.Listen(b.dir.Control())
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		b.status.Born = true
		b.status.State, b.status.Reason = provider.Running, ""
		err = b.dir.WriteStatus(b.status)
	}
	if err != nil {
		b.end(0)
		b.close()
		return err
	}
	sendReport(report, shim.Report{Running: true, Bootstrap: results, Warnings: b.warnings()})
	return nil
}

func (b *box) make(ctx context.Context) ([]api.ProcessRunResult, error) {
	born := b.status.Born
	b.status = shim.Status{State: provider.Creating, Born: born, ShimPID: os.Getpid()}
	b.groups = openCgroup(b.dir.ID())
	b.status.Cgroups = b.groups.dirs()
	b.status.Capabilities = b.engine.capabilities(b)
	b.status.Models = b.reachable()
	if err := b.dir.NoteStatus(b.status); err != nil {
		return nil, err
	}
	if err := b.status.Capabilities.Supports(b.record.Spec); err != nil {
		return nil, err
	}
	if err := b.groups.limit(b.record.Spec.Resources); err != nil {
		return nil, err
	}
	if err := b.engine.prepare(b); err != nil {
		return nil, err
	}
	listener, err := b.engine.listen(b)
	if err != nil {
		return nil, fmt.Errorf("listen for the server: %w", err)
	}
	b.listener = listener
	if err := b.start(ctx); err != nil || born {
		return nil, err
	}
	if err := b.checkAgent(ctx); err != nil {
		return nil, err
	}
	return b.bootstrap(ctx)
}

// become writes the state of a sandbox that exists.
func (b *box) become(state provider.State, reason string) error {
	b.status.State, b.status.Reason = state, reason
	if state == provider.Running || state == provider.Paused {
		return b.dir.NoteStatus(b.status)
	}
	return b.dir.WriteStatus(b.status)
}

// stopGrace is how long a server has to end by itself.
const stopGrace = 10 * time.Second

// end ends all that runs in the sandbox. With grace the server may write down what
// it has.
func (b *box) end(grace time.Duration) {
	if b.server == nil {
		return
	}
	if grace > 0 {
		b.thaw()
		b.server.Stdin.Close()
		timer := time.NewTimer(grace)
		select {
		case <-b.server.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	b.groups.kill()
	if err := b.server.Stop(0); err != nil {
		fmt.Fprintln(b.log, "shim:", err)
	}
	child.EndOrphans()
	b.groups.empty()
	b.output.Wait()
	b.server = nil
}

// close removes what the sandbox has outside of its directory.
func (b *box) close() {
	b.groups.remove()
	b.status.Models = nil
	if b.control != nil {
		b.control.Close()
	}
	if b.listener != nil {
		b.listener.Close()
	}
	_ = os.Remove(b.dir.Control())
	_ = os.Remove(b.dir.Server())
}

// request is what a client asks for, and where its reply goes.
type request struct {
	shim.Request
	reply chan shim.Reply
}

// serve does what clients ask for, until the sandbox has ended.
func (b *box) serve() error {
	requests := make(chan request)
	done := make(chan struct{})
	var clients sync.WaitGroup
	clients.Go(func() { accept(b.control, requests, done, &clients) })
	err := b.loop(requests)
	close(done)
	clients.Wait() // the last reply is sent
	return err
}

func (b *box) loop(requests <-chan request) error {
	var expired <-chan time.Time
	if ttl := b.record.Spec.TTL; ttl > 0 {
		timer := time.NewTimer(time.Until(b.record.CreatedAt.Add(ttl)))
		defer timer.Stop()
		expired = timer.C
	}
	life := b.life
	if !b.record.Spec.Bound {
		life = nil
	}
	for {
		select {
		case r := <-requests:
			reply, over, err := b.do(r.Request)
			if err != nil {
				reply.Error = problem(err)
			}
			r.reply <- reply
			if over {
				return err
			}
		case <-b.server.Done():
			state, reason := provider.Failed, fmt.Sprintf("its server ended by itself: %v%s", b.server.Exit(), b.log.lastLines())
			if code := b.server.Exit().Code; code != nil && *code == 0 {
				state, reason = provider.Stopped, "its server was ended by a client, or from inside"
			}
			b.end(0)
			b.close()
			return b.become(state, reason)
		case <-life:
			return b.vanish()
		case <-expired:
			if err := b.pause(); err != nil {
				fmt.Fprintln(b.log, "shim: pause at the end of the time to live:", err)
			}
		case sig := <-b.opts.Signals:
			b.end(stopGrace)
			b.close()
			return b.become(provider.Stopped, fmt.Sprintf("its shim received %v", sig))
		}
	}
}

// vanish destroys the sandbox of a process that has ended.
func (b *box) vanish() error {
	b.end(stopGrace)
	b.close()
	b.status.Born = false // as if it had never been
	return errors.Join(b.dir.WriteStatus(b.status), shim.Discard(b.dir))
}

// do carries out one command and reports whether the shim is over.
func (b *box) do(request shim.Request) (reply shim.Reply, over bool, err error) {
	switch request.Command {
	case shim.Pause:
		return reply, false, b.pause()
	case shim.Resume:
		return reply, false, b.resume()
	case shim.Restart:
		over, err = b.restart()
		return reply, over, err
	case shim.Kill:
		b.end(0)
		b.close()
		return reply, true, b.become(provider.Stopped, "it was killed")
	case shim.Destroy:
		b.end(0)
		b.close()
		return reply, true, nil
	case shim.Keys:
		reply.Warnings, err = b.setKeys(request.User)
		return reply, false, err
	}
	return reply, false, api.InvalidRequest("", "unknown command %q for a shim", request.Command)
}

func (b *box) restart() (over bool, err error) {
	b.end(stopGrace)
	// In a cgroup that was killed once, Linux 6.18 kills what a process of it starts in
	// a cgroup below: it compares how often the two were killed.
	b.groups.remove()
	b.groups = openCgroup(b.dir.ID())
	err = b.groups.limit(b.record.Spec.Resources)
	if err == nil {
		err = b.start(context.Background())
	}
	if err != nil {
		b.end(0)
		b.close()
		return true, errors.Join(err, b.become(provider.Failed, "restart: "+err.Error()))
	}
	return false, b.become(provider.Running, "")
}

// accept serves the control socket until the listener is closed.
func accept(listener net.Listener, requests chan<- request, done <-chan struct{}, clients *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		clients.Go(func() {
			defer conn.Close()
			answer(conn, requests, done)
		})
	}
}

// controlTimeout bounds how long a client may take to send its command.
const controlTimeout = 10 * time.Second

func answer(conn net.Conn, requests chan<- request, done <-chan struct{}) {
	conn.SetDeadline(time.Now().Add(controlTimeout))
	var asked shim.Request
	if err := json.NewDecoder(conn).Decode(&asked); err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	r := request{asked, make(chan shim.Reply, 1)}
	select {
	case requests <- r:
	case <-done:
		return
	}
	reply := <-r.reply
	conn.SetWriteDeadline(time.Now().Add(controlTimeout))
	_ = json.NewEncoder(conn).Encode(reply) // a client that is gone needs none
}

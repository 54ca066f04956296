package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

// Limits bounds what a [Supervisor] holds and waits for. Zeros mean the defaults.
type Limits struct {
	Config           api.ProcessConfig // what clients may change; see [DefaultConfig]
	MaxTotalLogBytes int64             // of all logs together; 256 MiB
	MaxRuns          int               // runs at once; 256
	RunGrace         time.Duration     // between asking and killing a run; 2 seconds
	MaxFinished      int               // ended processes that are kept; 256
	FinishedAge      time.Duration     // how long ended processes are kept; 1 hour
	FollowStall      time.Duration     // how long output waits for a reader that takes nothing; 5 seconds
	InputTimeout     time.Duration     // for a process to take its input; 10 seconds
	StopGrace        time.Duration     // between asking and killing in StopAll; 2 seconds
	Drain            time.Duration     // see [child.Spec]; [child.DefaultDrain]
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Config:           configWithDefaults(l.Config),
		MaxTotalLogBytes: cmp.Or(l.MaxTotalLogBytes, 256<<20),
		MaxRuns:          cmp.Or(l.MaxRuns, 256),
		RunGrace:         cmp.Or(l.RunGrace, 2*time.Second),
		MaxFinished:      cmp.Or(l.MaxFinished, 256),
		FinishedAge:      cmp.Or(l.FinishedAge, time.Hour),
		FollowStall:      cmp.Or(l.FollowStall, 5*time.Second),
		InputTimeout:     cmp.Or(l.InputTimeout, 10*time.Second),
		StopGrace:        cmp.Or(l.StopGrace, 2*time.Second),
		Drain:            cmp.Or(l.Drain, child.DefaultDrain),
	}
}

// Config says how to make a [Supervisor]. The zero value works.
type Config struct {
	Limits     Limits
	DefaultDir string   // where processes start that name no directory; empty means our own
	Env        []string // what processes get, and a standard PATH if it has none
	Logger     *slog.Logger

	User   *user.User    // who the processes run as; nil means the user of this program
	Roster *child.Roster // what the processes are paused with; nil means one of their own
}

// Supervisor keeps the processes that users see. Its methods may be called from
// several goroutines; errors a caller can act on are [*api.Error].
//
// An ended process is kept with its log until it is deleted, until more than
// MaxFinished ended after it, or for FinishedAge, whichever comes first. It is
// kept longer while something that it left behind still runs.
type Supervisor struct {
	limits     Limits
	defaultDir string
	env        []string
	user       *user.User
	log        *slog.Logger
	roster     *child.Roster

	settings atomic.Pointer[api.ProcessConfig]
	logBytes atomic.Int64 // held by all logs
	work     sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	lastID    uint64
	running   int // created and not yet ended, or about to start
	underRun  int // runs that have not ended
	processes map[string]*process
	finished  []*process                // in the order they ended; may hold deleted ones
	runs      map[*child.Child]struct{} // of Run: running, or ended and survived by others
}

// NewSupervisor returns a supervisor, which Close ends.
func NewSupervisor(cfg Config) *Supervisor {
	s := &Supervisor{
		limits:     cfg.Limits.withDefaults(),
		defaultDir: cfg.DefaultDir,
		env:        child.WithPath(cfg.Env),
		user:       cfg.User,
		log:        cfg.Logger,
		roster:     cfg.Roster,
		processes:  make(map[string]*process),
		runs:       make(map[*child.Child]struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.roster == nil {
		s.roster = new(child.Roster)
	}
	s.settings.Store(&s.limits.Config)
	return s
}

// process is one that Create made.
type process struct {
	id     string
	number uint64
	child  *child.Child
	out    *outputLog
	input  chan struct{} // holds a token while a client writes
	ended  chan struct{} // closed once info has the end

	mu          sync.Mutex
	info        api.ProcessInfo
	stdinClosed bool
}

func (p *process) snapshot() *api.ProcessInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := p.info
	return &info
}

// Create starts a process that runs until it ends or is stopped.
func (s *Supervisor) Create(req api.ProcessCreateRequest, owner api.ProcessOwner) (*api.ProcessInfo, error) {
	spec, err := s.spec(req.Command, req.Args, req.Cwd, req.Env)
	if err != nil {
		return nil, err
	}
	number, err := s.reserve()
	if err != nil {
		return nil, err
	}
	what := "process"
	spec.Drain = -1 // output of what is left behind is kept too
	if req.TTY {
		what = "tty process"
		spec.TTY = &child.Size{Cols: 80, Rows: 24}
		if child.LookupEnv(spec.Env, "TERM") == "" {
			spec.Env = append(spec.Env, "TERM=xterm-256color")
		}
	} else {
		spec.Stdin = true
	}
	c, err := child.Start(spec)
	if err != nil {
		s.release()
		return nil, spawnError(what, err)
	}
	p := &process{
		id:     fmt.Sprintf("proc_%d", number),
		number: number,
		child:  c,
		out:    newOutputLog(s.settings.Load().MaxLogBytesPerProcess, &s.logBytes, s.limits.FollowStall),
		input:  make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
	p.info = api.ProcessInfo{
		ID: p.id, Command: req.Command, Args: append([]string{}, req.Args...), TTY: req.TTY,
		Interactive: req.Interactive, Owner: owner, Status: api.ProcessRunning,
		PID: c.PID(), CreatedAtMs: time.Now().UnixMilli(),
	}
	p.out.expect(req.AwaitReaders)
	if req.Cwd != nil {
		p.info.Cwd = *req.Cwd
	}
	if !s.add(p) {
		_ = c.Stop(0)
		c.CloseStreams()
		return nil, errShutDown()
	}
	s.log.Debug("process started", "id", p.id, "pid", c.PID(), "command", req.Command)
	return p.snapshot(), nil
}

// spawnError returns why something was not started.
func spawnError(what string, err error) *api.Error {
	if errors.Is(err, child.ErrPaused) {
		return api.Paused()
	}
	code := api.CodeSpawnFailed
	var at *fs.PathError
	switch entering := errors.As(err, &at) && at.Op == "chdir"; {
	case errors.Is(err, fs.ErrPermission):
		code = api.CodePermissionDenied
	case errors.Is(err, syscall.ENOTDIR):
		code = api.CodeNotADirectory
	case errors.Is(err, fs.ErrNotExist) && entering:
		code = api.CodePathNotFound
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		code = api.CodeProgramNotFound
	}
	return api.StreamError(code, "failed to spawn %s: %w", what, err)
}

// spec checks and translates what Create and Run have in common.
func (s *Supervisor) spec(command string, args []string, cwd *string, env map[string]string) (child.Spec, error) {
	if strings.TrimSpace(command) == "" {
		return child.Spec{}, api.InvalidRequest(api.CodeCommandEmpty, "command must not be empty")
	}
	if err := cmp.Or(api.RefuseNUL(api.CodeInvalidRequest, "command", append([]string{command}, args...)...), api.CheckEnv(env)); err != nil {
		return child.Spec{}, err
	}
	spec := child.Spec{Path: command, Args: args, Dir: s.defaultDir, Env: slices.Clone(s.env), User: s.user, Roster: s.roster}
	if cwd != nil && *cwd != "" {
		if err := api.RefuseNUL(api.CodeInvalidPath, "cwd", *cwd); err != nil {
			return child.Spec{}, err
		}
		spec.Dir = *cwd
	}
	for key, value := range env {
		spec.Env = append(spec.Env, key+"="+value)
	}
	return spec, nil
}

// reserve takes an id and a place among the running processes.
func (s *Supervisor) reserve() (uint64, error) {
	limit := s.settings.Load().MaxConcurrentProcesses
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errShutDown()
	}
	if s.running >= limit {
		return 0, errLimit("process", "maxConcurrentProcesses", limit)
	}
	s.running++
	s.lastID++
	return s.lastID, nil
}

func (s *Supervisor) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

func errLimit(what, name string, limit int) *api.Error {
	e := api.Conflict(api.CodeProcessLimit, "max concurrent %s limit reached (%d)", what, limit)
	return e.With("limit", name).With("value", limit)
}

func errShutDown() *api.Error {
	return api.NewError(api.KindUnavailable, api.CodeShuttingDown, "the server is shutting down")
}

// add makes a process known and starts to watch it, unless the supervisor was
// closed meanwhile.
func (s *Supervisor) add(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.running--
		return false
	}
	s.processes[p.id] = p
	s.work.Go(func() { s.watch(p) })
	return true
}

// watch takes the output of a process and notes its end.
func (s *Supervisor) watch(p *process) {
	var pumps sync.WaitGroup
	if p.child.TTY() {
		pumps.Go(func() { s.pump(p, p.child.Stdout, api.LogPTY) })
	} else {
		pumps.Go(func() { s.pump(p, p.child.Stdout, api.LogStdout) })
		pumps.Go(func() { s.pump(p, p.child.Stderr, api.LogStderr) })
	}
	read := make(chan struct{})
	go func() { pumps.Wait(); close(read) }()

	<-p.child.Done()
	exitedAt := time.Now()
	p.drain(read, s.limits.Drain, sync.OnceFunc(func() { s.noteEnd(p, exitedAt) }))
	p.out.end()
	<-read // what is left behind may write on, until it ends or is killed
}

// drain waits until the output of an ended process is read, but for what
// descendants write no longer than d. While readers hold it up the time does not
// count, up to what a pipe may have held at the end. It calls note when the output
// is read, and after d at the latest, so that who sees the end finds the output.
func (p *process) drain(read <-chan struct{}, d time.Duration, note func()) {
	defer note()
	_, end := p.out.wasDelayed()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-read:
			return
		case <-timer.C:
			note()
		}
		if delayed, now := p.out.wasDelayed(); !delayed || now-end >= child.MaxRest {
			return
		}
		timer.Reset(d)
	}
}

// noteEnd notes the exit of a process and drops those that ended long ago.
func (s *Supervisor) noteEnd(p *process, exitedAt time.Time) {
	exit := p.child.Exit()
	p.mu.Lock()
	p.info.Status, p.info.PID = api.ProcessExited, 0
	p.info.ExitCode, p.info.ExitSignal = exit.Code, exit.Signal
	p.info.ExitedAtMs = exitedAt.UnixMilli()
	p.mu.Unlock()
	close(p.ended)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.finished = append(s.finished, p)
	s.reap()
}

// reap drops the ended processes that are too many or too old. The caller holds
// s.mu.
func (s *Supervisor) reap() {
	excess := len(s.finished) - s.limits.MaxFinished
	oldest := time.Now().Add(-s.limits.FinishedAge).UnixMilli()
	kept := s.finished[:0]
	for _, p := range s.finished {
		switch {
		case s.processes[p.id] != p: // deleted
			excess--
		case excess <= 0 && p.snapshot().ExitedAtMs >= oldest, p.child.Remains():
			kept = append(kept, p)
		default:
			excess--
			delete(s.processes, p.id)
			p.out.discard()
			p.child.EndOutput()
		}
	}
	clear(s.finished[len(kept):])
	s.finished = kept
}

// find returns a process that Create made.
func (s *Supervisor) find(id string) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[id]
	if p == nil {
		return nil, api.NotFound("process", id)
	}
	return p, nil
}

// all returns the processes in the order of their creation.
func (s *Supervisor) all() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*process, 0, len(s.processes))
	for _, p := range s.processes {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *process) int { return cmp.Compare(a.number, b.number) })
	return all
}

// List returns the processes of an owner, or of all if it is empty, in the order
// of their creation.
func (s *Supervisor) List(owner api.ProcessOwner) (*api.ProcessList, error) {
	switch owner {
	case "", api.OwnerUser, api.OwnerDesktop, api.OwnerSystem:
	default:
		return nil, api.InvalidRequest(api.CodeInvalidQuery, "unknown owner %q, expected one of user, desktop, system", owner)
	}
	s.mu.Lock()
	s.reap()
	s.mu.Unlock()
	list := &api.ProcessList{Processes: []api.ProcessInfo{}}
	for _, p := range s.all() {
		if info := p.snapshot(); owner == "" || info.Owner == owner {
			list.Processes = append(list.Processes, *info)
		}
	}
	return list, nil
}

// Get returns one process.
func (s *Supervisor) Get(id string) (*api.ProcessInfo, error) {
	p, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return p.snapshot(), nil
}

// Delete forgets an ended process and its log. What it left behind lives on, as that
// of a run does.
func (s *Supervisor) Delete(id string) error {
	s.mu.Lock()
	p := s.processes[id]
	if p == nil {
		s.mu.Unlock()
		return api.NotFound("process", id)
	}
	if p.snapshot().Status == api.ProcessRunning {
		s.mu.Unlock()
		return api.Conflict(api.CodeProcessRunning, "process is still running; stop or kill it before delete")
	}
	delete(s.processes, id)
	if p.child.Left() {
		s.runs[p.child] = struct{}{} // what it has left lives on, and ends with all others
	}
	s.mu.Unlock()
	p.out.discard()
	return nil
}

// Signal sends a signal, by name with or without SIG or by number, to everything
// that belongs to a process, and waits up to wait for the process to end. It
// returns the state after that. Something that has ended stays as it is.
func (s *Supervisor) Signal(ctx context.Context, id, signal string, wait time.Duration) (*api.ProcessInfo, error) {
	sig, ok := parseSignal(signal)
	if !ok {
		return nil, api.InvalidRequest(api.CodeUnknownSignal, "unknown signal: %s", signal)
	}
	p, err := s.find(id)
	if err != nil {
		return nil, err
	}
	signals := []syscall.Signal{sig}
	if sig == syscall.SIGTERM && !s.roster.Paused() {
		signals = append(signals, syscall.SIGCONT) // a stopped process does not get it otherwise
	}
	if err := p.child.Signal(signals...); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, api.StreamError("", "%w", err)
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return p.snapshot(), nil
}

// Stop sends SIGTERM, or another signal if one is named; see [Supervisor.Signal].
func (s *Supervisor) Stop(ctx context.Context, id, signal string, wait time.Duration) (*api.ProcessInfo, error) {
	return s.Signal(ctx, id, cmp.Or(signal, "SIGTERM"), wait)
}

// Kill sends SIGKILL, or another signal if one is named; see [Supervisor.Signal].
func (s *Supervisor) Kill(ctx context.Context, id, signal string, wait time.Duration) (*api.ProcessInfo, error) {
	return s.Signal(ctx, id, cmp.Or(signal, "SIGKILL"), wait)
}

// children returns everything that may run: processes of Create and of Run, and
// what they left behind.
func (s *Supervisor) children() []*child.Child {
	var all []*child.Child
	for _, p := range s.all() {
		all = append(all, p.child)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.runs {
		all = append(all, c)
	}
	return all
}

// StopAll ends all processes and what they left behind: it asks, waits, and
// kills. When ctx ends it kills at once. The processes are seen to have ended when it
// returns.
func (s *Supervisor) StopAll(ctx context.Context) error {
	children := s.children()
	errs := make([]error, len(children))
	grace := s.limits.StopGrace
	if deadline, ok := ctx.Deadline(); ok {
		grace = max(0, min(grace, time.Until(deadline)))
	}
	if ctx.Err() != nil {
		grace = 0
	}
	var stops sync.WaitGroup
	for i, c := range children {
		stops.Go(func() { errs[i] = c.Stop(grace) })
	}
	stops.Wait()
	for _, p := range s.all() {
		if p.child.Exited() { // else an error says so
			<-p.ended
		}
	}
	return errors.Join(errs...)
}

// Close refuses new processes, ends all that run, and waits until their output
// is read. Logs can still be read afterwards.
func (s *Supervisor) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.StopAll(ctx)
	for _, p := range s.all() {
		p.out.release()
	}
	s.work.Wait()
	return err
}

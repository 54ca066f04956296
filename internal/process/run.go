package process

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// Run runs a process to its end, with empty input, and returns its output, of which the
// middle is left out if it is too long. If ctx ends before, everything the process
// started is ended, by SIGTERM and after the grace period by SIGKILL, and the error is
// that of ctx. If the time is over, likewise, and the result says so.
//
// What a process leaves behind when it ends by itself, such as a server that it
// started in the background, lives on until [Supervisor.StopAll]; the result does
// not wait for its output longer than the drain time.
func (s *Supervisor) Run(ctx context.Context, req api.ProcessRunRequest) (*api.ProcessRunResult, error) {
	spec, err := s.spec(req.Command, req.Args, req.Cwd, req.Env)
	if err != nil {
		return nil, err
	}
	config := s.settings.Load()
	timeout, err := runTimeout(req, config)
	if err != nil {
		return nil, err
	}
	grace := s.limits.RunGrace
	if req.GraceMs != nil {
		grace = time.Duration(min(max(0, *req.GraceMs), config.MaxRunTimeoutMs)) * time.Millisecond
	}
	limit := config.MaxOutputBytes
	if req.MaxOutputBytes != nil {
		limit = max(0, min(limit, *req.MaxOutputBytes))
	}
	spec.Drain = s.limits.Drain
	begin := time.Now()
	c, err := s.startRun(spec)
	if err != nil {
		return nil, err
	}
	defer s.endRun(c)

	stdout, stderr := collector{limit: limit}, collector{limit: limit}
	var reads sync.WaitGroup
	reads.Go(func() { stdout.readFrom(c.Stdout) })
	reads.Go(func() { stderr.readFrom(c.Stderr) })

	timer := time.NewTimer(timeout)
	defer timer.Stop()
	timedOut := false
	select {
	case <-c.Done():
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		timedOut = true
	}
	if err != nil || timedOut {
		if stopErr := c.Stop(grace); stopErr != nil {
			s.log.Warn("stop process", "pid", c.PID(), "error", stopErr)
		}
	}
	reads.Wait()
	if err != nil {
		return nil, err
	}
	result := &api.ProcessRunResult{
		TimedOut:        timedOut,
		Stdout:          stdout.text(),
		Stderr:          stderr.text(),
		StdoutTruncated: stdout.truncated(),
		StderrTruncated: stderr.truncated(),
		DurationMs:      time.Since(begin).Milliseconds(),
	}
	if exit := c.Exit(); !timedOut {
		result.ExitCode, result.ExitSignal = exit.Code, exit.Signal
	}
	return result, nil
}

// runTimeout returns how long a run may take: at most the maximum.
func runTimeout(req api.ProcessRunRequest, config *api.ProcessConfig) (time.Duration, error) {
	ms := float64(config.DefaultRunTimeoutMs)
	switch {
	case req.TimeoutMs != nil && *req.TimeoutMs < 0:
		return 0, api.InvalidRequest(api.CodeInvalidRequest, "timeoutMs must not be negative")
	case req.TimeoutMs != nil && *req.TimeoutMs > 0:
		ms = float64(*req.TimeoutMs)
	case req.Timeout != nil && (*req.Timeout < 0 || math.IsNaN(*req.Timeout)):
		return 0, api.InvalidRequest(api.CodeInvalidRequest, "timeout must not be negative")
	case req.Timeout != nil && *req.Timeout > 0:
		ms = *req.Timeout * 1000
	}
	const longest = math.MaxInt64 / int64(2*time.Millisecond) // half, as a float is not exact
	ms = min(ms, float64(config.MaxRunTimeoutMs), float64(longest))
	return time.Duration(ms * float64(time.Millisecond)), nil
}

func (s *Supervisor) startRun(spec child.Spec) (*child.Child, error) {
	if err := s.reserveRun(); err != nil {
		return nil, err
	}
	c, err := child.Start(spec)
	s.mu.Lock()
	if err == nil {
		s.runs[c] = struct{}{}
	} else {
		s.underRun--
	}
	closed := s.closed
	s.mu.Unlock()
	if err != nil {
		s.work.Done()
		return nil, spawnError("process", err)
	}
	if closed { // and perhaps StopAll has looked already
		_ = c.Stop(0)
	}
	return c, nil
}

// reserveRun takes a place among the runs.
func (s *Supervisor) reserveRun() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errShutDown()
	}
	if limit := s.limits.MaxRuns; s.underRun >= limit {
		return errLimit("run", "maxConcurrentRuns", limit)
	}
	s.underRun++
	s.work.Add(1)
	return nil
}

// endRun keeps the child only if it left something behind.
func (s *Supervisor) endRun(c *child.Child) {
	defer s.work.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underRun--
	if !c.Left() {
		delete(s.runs, c)
		return
	}
	for run := range s.runs {
		if run.Exited() && !run.Remains() {
			delete(s.runs, run)
		}
	}
}

// readSize is how much is read from a child at once.
const readSize = 32 << 10

var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// collector keeps the beginning and the end of a stream, and reads the rest away.
type collector struct {
	limit int64
	head  []byte // the first bytes, up to limit
	tail  []byte // the last bytes of what follows them
	total int64
}

// readFrom reads r to its end.
func (c *collector) readFrom(r io.Reader) {
	buf := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		c.take(buf[:n])
		if err != nil {
			return
		}
	}
}

func (c *collector) take(p []byte) {
	c.total += int64(len(p))
	room := min(int64(len(p)), c.limit-int64(len(c.head)))
	c.head = append(c.head, p[:room]...)
	c.tail = append(c.tail, p[room:]...)
	if excess := int64(len(c.tail)) - c.limit; excess > readSize {
		c.tail = c.tail[:copy(c.tail, c.tail[excess:])]
	}
}

func (c *collector) truncated() bool { return c.total > c.limit }

// shortLimit is the limit below which the line about what is left out has no room.
const shortLimit = 128

// text returns the stream, or, as long as the limit allows, its beginning, a line that
// says how much is left out, and its end.
func (c *collector) text() string {
	if !c.truncated() || c.limit < shortLimit {
		return strings.ToValidUTF8(string(c.head), "\uFFFD")
	}
	kept, gap := c.limit, ""
	for kept != c.limit-int64(len(gap)) || gap == "" { // the line takes the place of bytes, too
		kept = c.limit - int64(len(gap))
		gap = fmt.Sprintf("\n[... %d bytes left out ...]\n", c.total-kept)
	}
	first := kept / 2
	end := append(c.head[first:len(c.head):len(c.head)], c.tail...)
	end = end[int64(len(end))-(kept-first):]
	return strings.ToValidUTF8(string(c.head[:first]), "\uFFFD") + gap + strings.ToValidUTF8(string(end), "\uFFFD")
}

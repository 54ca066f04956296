package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// run is one process of a connection's agent. A reader goroutine owns its
// standard output. Its standard input is owned by a post that finds it idle, or
// by the writer goroutine as soon as something has to wait. Nothing of it shares
// a lock with another agent.
type run struct {
	c      *conn
	child  *child.Child
	stderr tail

	mu      sync.Mutex
	queue   []*item
	queued  int64            // bytes in queue
	writing bool             // a writer owns the input
	idle    sync.Cond        // of mu: writing has become false
	sent    int64            // bytes that the input has taken; belongs to who owns it
	read    int64            // how many of them the agent may have read; -1 means unknown
	pending map[string]*call // by [acp.IDKey]
	ended   error            // why nothing can be posted any more

	rest chan *item    // gives the input to the writer, with what it begins with
	over chan struct{} // closed with ended set: every waiter goes home
	gone chan struct{} // closed when the process and its goroutines are gone
}

// item is a frame on its way to the agent.
type item struct {
	msg     acp.Message
	frame   []byte
	shown   []byte        // the frame without secrets, for journal and observer
	own     bool          // of the bridge itself, and no business of the observer
	line    []byte        // what has to be written yet, once the journal has the frame
	taken   bool          // off the queue; guarded by run.mu
	start   int64         // bytes before it, once it is taken; likewise
	written chan struct{} // closed when the agent's input has taken it
}

// call is a request that waits for its reply.
type call struct {
	key      string
	answered bool       // the reply is on its way through the journal; guarded by run.mu
	reply    chan reply // takes one
}

type reply struct {
	frame   []byte
	seq     uint64
	isError bool
	verdict Verdict
}

func newRun(c *conn, proc *child.Child) *run {
	r := &run{
		c:       c,
		child:   proc,
		read:    -1,
		pending: make(map[string]*call),
		rest:    make(chan *item, 1),
		over:    make(chan struct{}),
		gone:    make(chan struct{}),
	}
	r.idle.L = &r.mu
	return r
}

// begin starts the goroutines of the run; they end with the process.
func (r *run) begin() {
	var stderr sync.WaitGroup
	stderr.Go(func() { r.stderr.read(r.child.Stderr, r.c.log()) })
	go r.write()
	go func() {
		r.readStdout()
		r.finish(&stderr)
	}()
}

// finish ends the process, whose output has ended, and tells all who wait for
// it. An agent that closed its output cannot answer any more, even if it lives.
func (r *run) finish(stderr *sync.WaitGroup) {
	if err := r.child.Stop(r.c.b.cfg.Limits.StopGrace); err != nil {
		r.c.log().Warn("agent does not end", "pid", r.child.PID(), "error", err)
	}
	stderr.Wait()
	r.measure()
	exit := r.child.Exit()
	if _, err := r.c.b.cfg.Journal.Append(r.c.stream, journal.FromAgent, exitFrame(exit)); err != nil {
		r.c.log().Warn("journal agent exit", "error", err)
	}
	problem := exitProblem(r.c.agent, exit, r.stderr.lines())
	// Waiters last: who hears that the agent is gone, and asks again, meets a
	// server that knows it everywhere.
	r.c.exited(r, problem)
	r.c.observe(Event{From: journal.FromAgent, Exit: problem})
	r.end(problem)
	r.c.log().Info("agent exited", "pid", r.child.PID(), "how", exit.String())
	close(r.gone)
}

// measure notes how much of its input the process has read, once nobody writes to
// it any more, which the end of the process has brought about.
func (r *run) measure() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.writing {
		r.idle.Wait()
	}
	if n, ok := r.child.Unread(); ok {
		r.read = r.sent - int64(n)
	}
}

// ErrUnread means that the agent ended before it read any of a frame, so that the
// next one may have it.
var ErrUnread = errors.New("the agent has not read it")

// lost returns why nothing can become of an item any more.
func (r *run) lost(it *item) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read >= 0 && (!it.taken || it.start >= r.read) {
		return fmt.Errorf("%w: %w", ErrUnread, r.ended)
	}
	return r.ended
}

// end sends all waiters home with err. Only the first call counts.
func (r *run) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
		close(r.over)
	}
}

// stop ends the process and returns when it is gone.
func (r *run) stop() {
	e := exitProblem(r.c.agent, child.Exit{}, nil)
	e.Code = api.CodeConnectionClosed
	r.end(e.With("message", "the connection was closed before the agent answered"))
	if err := r.child.Stop(r.c.b.cfg.Limits.StopGrace); err != nil {
		r.c.log().Warn("agent does not end", "pid", r.child.PID(), "error", err)
	}
	<-r.gone
}

// unbounded reports whether a method may take as long as it likes: a prompt
// runs for hours, a login waits for a person.
func unbounded(method string) bool {
	return method == acp.MethodSessionPrompt || method == acp.MethodAuthenticate
}

// post queues a frame for the agent and waits: for a request until its reply is
// in the journal, for anything else until the agent's input has taken it.
func (r *run) post(ctx context.Context, msg acp.Message, frame []byte) ([]byte, error) {
	it := &item{msg: msg, frame: frame, shown: r.c.b.cfg.Observer.Conceal(msg, frame), written: make(chan struct{})}
	cl, owner, err := r.enqueue(msg, it)
	if err != nil {
		return nil, err
	}
	if owner {
		r.writeAtOnce()
	}
	if err := r.awaitWritten(ctx, cl, it); cl == nil || err != nil && !r.answered(cl) {
		return nil, err
	}
	var timeout <-chan time.Time
	if !unbounded(msg.Method) {
		timer := time.NewTimer(r.c.b.cfg.Limits.RequestTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case rep := <-cl.reply:
		return r.acknowledge(ctx, rep)
	case <-r.over:
	case <-timeout:
	case <-ctx.Done():
	}
	if r.answered(cl) {
		// It came with the agent's last breath, or the client saw it on the stream
		// and ended the server.
		select {
		case rep := <-cl.reply:
			return r.acknowledge(ctx, rep)
		case <-r.gone: // the journal has refused it
		}
	}
	switch {
	case ctx.Err() != nil:
		r.abandon(it, cl)
		return nil, ctx.Err() // the reply still goes to the journal
	case isClosed(r.over):
		return nil, r.lost(it)
	}
	r.forget(cl)
	e := api.NewError(api.KindTimeout, "", "timeout: no reply to %s within requestTimeoutMs (%d)", msg.Method, r.c.b.cfg.Limits.RequestTimeout.Milliseconds())
	return nil, e.With("message", "timed out waiting for agent response").With("limit", "requestTimeoutMs")
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// acknowledge returns a reply once it and all before it are on disk, and what the
// observer has asked for. A journal that cannot write is its own alarm; the client
// gets its answer all the same.
func (r *run) acknowledge(ctx context.Context, rep reply) ([]byte, error) {
	j := r.c.b.cfg.Journal
	if err := j.Wait(ctx, r.c.stream, rep.seq); err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if v := rep.verdict; v.Stream != "" {
		if err := j.Wait(ctx, v.Stream, v.Seq); err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if rep.isError {
		return r.c.b.cfg.Observer.Explain(r.c.agent, rep.frame, r.stderr.lines()), nil
	}
	return rep.frame, nil
}

// enqueue reports whether the caller owns the input of the agent from now on.
func (r *run) enqueue(msg acp.Message, it *item) (cl *call, owner bool, err error) {
	limits := r.c.b.cfg.Limits
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return nil, false, r.ended
	}
	if size := int64(len(it.frame)); r.queued > 0 && r.queued+size > limits.MaxQueuedBytes {
		return nil, false, r.notReading("maxQueuedBytes", limits.MaxQueuedBytes)
	}
	if msg.Kind == acp.Request {
		key := acp.IDKey(msg.ID)
		if r.pending[key] != nil {
			return nil, false, api.Conflict(api.CodeDuplicateID, "a request with id %s is still waiting for its reply", msg.ID)
		}
		if len(r.pending) >= limits.MaxPending {
			return nil, false, api.NewError(api.KindUnavailable, api.CodeLimitExceeded,
				"maxPendingRequests (%d) requests wait for this agent", limits.MaxPending).With("limit", "maxPendingRequests")
		}
		cl = &call{key: key, reply: make(chan reply, 1)}
		r.pending[key] = cl
	}
	r.queue = append(r.queue, it)
	r.queued += int64(len(it.frame))
	owner, r.writing = !r.writing, true
	return cl, owner, nil
}

func (r *run) awaitWritten(ctx context.Context, cl *call, it *item) error {
	select {
	case <-it.written:
		return nil
	default:
	}
	timer := time.NewTimer(r.c.b.cfg.Limits.WriteStall)
	defer timer.Stop()
	select {
	case <-it.written:
	case <-r.over:
	case <-ctx.Done():
	case <-timer.C:
	}
	switch {
	case isClosed(it.written):
		return nil
	case ctx.Err() != nil:
		r.abandon(it, cl)
		return ctx.Err() // the frame stays in the queue
	case isClosed(r.over):
		return r.lost(it)
	}
	r.forget(cl)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !it.taken {
		it.taken = true // the writer passes over it
		r.queued -= int64(len(it.frame))
	}
	return r.notReading("writeStallMs", r.c.b.cfg.Limits.WriteStall.Milliseconds())
}

func (r *run) notReading(limit string, value int64) error {
	e := api.NewError(api.KindTimeout, api.CodeAgentNotReading, "timeout: the agent does not read its input (%s %d)", limit, value)
	e.Agent = r.c.agent
	return e.With("message", "the agent does not read its input").With("limit", limit)
}

// abandon gives up on a reply later on, since its client has left; else its id
// would be taken for as long as the agent is silent.
func (r *run) abandon(it *item, cl *call) {
	if cl != nil && !unbounded(it.msg.Method) {
		time.AfterFunc(r.c.b.cfg.Limits.RequestTimeout, func() { r.forget(cl) })
	}
}

// forget gives up on a reply, unless cl is nil or no longer waits. It leaves
// another call of the same id alone.
func (r *run) forget(cl *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cl != nil && r.pending[cl.key] == cl {
		delete(r.pending, cl.key)
	}
}

// writeAtOnce writes what is queued, for a post that has come to own the input.
// What the journal or the agent does not take at once goes to the writer, with
// the input. Mostly there is nothing, and waking the writer would cost more than
// the writing.
func (r *run) writeAtOnce() {
	for it := r.next(); it != nil; it = r.next() {
		if !r.note(it, r.c.b.cfg.Journal.TryAppend) {
			r.rest <- it
			return
		}
		n, err := r.child.TryWrite(it.line)
		r.sent += int64(n)
		if it.line = it.line[n:]; err == nil && len(it.line) > 0 {
			r.rest <- it
			return
		}
		r.done(it, err)
	}
}

// write is the goroutine that writes to the agent what has to wait. It ends with
// the run.
func (r *run) write() {
	for {
		select {
		case it := <-r.rest:
			for ; it != nil; it = r.next() {
				r.note(it, r.c.b.cfg.Journal.Append)
				n, err := r.child.Stdin.Write(it.line)
				r.sent += int64(n)
				r.done(it, err)
			}
		case <-r.gone:
			return
		}
	}
}

// note tells journal and observer of an item, unless they know. It reports
// whether the journal had room.
func (r *run) note(it *item, appendTo func(string, journal.Direction, []byte) (uint64, error)) bool {
	if it.line != nil {
		return true
	}
	_, err := appendTo(r.c.client, journal.FromClient, it.shown)
	if errors.Is(err, journal.ErrFull) {
		return false
	}
	if err != nil {
		r.c.log().Warn("journal client frame", "error", err)
	}
	it.line = []byte{}
	if it.own || !r.c.observe(Event{From: journal.FromClient, Msg: it.msg, Frame: it.shown}).Drop {
		it.line = append(it.frame[:len(it.frame):len(it.frame)], '\n')
	}
	return true
}

// done says that an item was written, or that it cannot be: then the exit that
// follows is for the callers that wait.
func (r *run) done(it *item, err error) {
	if err != nil {
		r.c.log().Debug("write to agent", "error", err)
		return
	}
	close(it.written)
}

// next takes an item off the queue. Without any it gives up the input.
func (r *run) next() *item {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		it := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		if it.taken {
			continue
		}
		it.taken, it.start = true, r.sent
		r.queued -= int64(len(it.frame))
		return it
	}
	r.writing = false
	r.idle.Broadcast()
	return nil
}

// smallRead is up to how many bytes of output are journaled by the reader
// itself. The answer to one request is mostly all there is to read, and then a
// goroutine less is in its way. More than that is journaled while the reader
// goes on.
const smallRead = 4 << 10

// readStdout is the goroutine that reads from the agent. It ends with the
// output of the process.
func (r *run) readStdout() {
	j := r.c.b.cfg.Journal
	lines := newLineReader(r.child.Stdout, r.c.b.cfg.Limits.MaxFrameBytes)
	defer lines.release()
	var answers []answer // to requests, not written yet
	for held := false; ; {
		empty := lines.buffered() == 0
		line, err := lines.next()
		var long *longLineError
		switch {
		case errors.As(err, &long):
			if a := r.tooLong(long); a.call != nil {
				a.call.reply <- a.reply
			}
			continue
		case err != nil:
			if !errors.Is(err, io.EOF) {
				r.c.log().Warn("read from agent", "error", err)
			}
			return
		}
		if empty && lines.buffered() <= smallRead {
			held = true
			j.Hold()
		}
		a, ok := r.receive(line)
		if a.call != nil {
			answers = append(answers, a)
		}
		if held && ok && lines.more() {
			continue
		}
		if held {
			held = false
			j.Release()
		}
		for _, a := range answers {
			a.call.reply <- a.reply
		}
		answers = answers[:0]
		if !ok {
			return
		}
	}
}

// answer is a reply and the call that it is for.
type answer struct {
	call  *call // nil if nobody waits
	reply reply
}

// loggedBytes is how much of a faulty line goes into the log.
const loggedBytes = 200

// receive journals a line of the agent, and returns it if a caller waits for it.
// It reports whether the journal is still there.
func (r *run) receive(line []byte) (a answer, ok bool) {
	if !utf8.Valid(line) { // an agent repeats what it read somewhere; a stream has to be text
		line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
	}
	msg, err := acp.Parse(line)
	if err != nil {
		if frame, m, ok := cleaned(line); ok {
			line, msg, err = frame, m, nil
		}
	}
	switch {
	case err != nil:
		r.c.log().Warn("line of an agent's output is not a frame", "error", err, "line", string(line[:min(len(line), loggedBytes)]))
		line, msg = invalidFrame(err.Error(), line), acp.Message{}
	case msg.Reserved:
		r.c.log().Warn("agent sends a method that is reserved for the server", "method", msg.Method)
		if msg.Kind == acp.Request {
			r.refuse(msg.ID, reservedError(msg.Method))
		}
		line, msg = invalidFrame(reservedError(msg.Method).Message, line), acp.Message{}
	}
	var cl *call
	if msg.Kind == acp.Response {
		cl = r.answer(msg.ID)
	}
	seq, err := r.c.b.cfg.Journal.Append(r.c.stream, journal.FromAgent, line)
	if err != nil {
		r.c.log().Error("journal agent frame", "error", err)
		return answer{}, false
	}
	verdict := r.c.observe(Event{From: journal.FromAgent, Msg: msg, Frame: line})
	return answer{cl, reply{line, seq, msg.IsError, verdict}}, true
}

// refuse answers a request of the agent with an error. It does not wait.
func (r *run) refuse(id json.RawMessage, e *acp.RPCError) {
	frame, err := acp.ErrorFrame(bytes.Clone(id), e)
	if err != nil {
		r.c.log().Error("encode refusal", "error", err)
		return
	}
	it := &item{msg: acp.Message{Kind: acp.Response}, frame: frame, own: true, written: make(chan struct{})}
	_, owner, err := r.enqueue(it.msg, it)
	if err != nil {
		r.c.log().Debug("refuse request of the agent", "error", err)
		return
	}
	if owner {
		r.writeAtOnce()
	}
}

// answer returns the call that a reply is for, which waits no more, or nil.
func (r *run) answer(id json.RawMessage) *call {
	key := acp.IDKey(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	cl := r.pending[key]
	if cl != nil {
		cl.answered = true
		delete(r.pending, key)
	}
	return cl
}

func (r *run) answered(cl *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cl.answered
}

// tooLong reports a line over the limit: to readers, to the observer, and to those
// who wait. A reply becomes an error of the same id, as if the agent had sent that;
// a request of the agent is refused.
func (r *run) tooLong(e *longLineError) (a answer) {
	r.c.log().Warn("line of an agent is dropped", "error", e, "method", e.msg.Method, "agentSession", e.msg.SessionID)
	if _, err := r.c.b.cfg.Journal.Append(r.c.stream, journal.FromAgent, invalidFrame(e.Error(), e.start)); err != nil {
		r.c.log().Error("journal agent frame", "error", err)
	}
	why := acp.Errorf(acp.CodeInternalError, "%s", e.Error())
	why.Data = json.RawMessage(`{"code":"` + string(api.CodeFrameTooLong) + `"}`)
	switch e.msg.Kind {
	case acp.Response:
		frame, err := acp.ErrorFrame(e.msg.ID, why)
		if err != nil {
			r.c.log().Error("encode error", "error", err)
			return a
		}
		a, _ = r.receive(frame)
		return a
	case acp.Request:
		why.Code = acp.CodeInvalidRequest
		r.refuse(e.msg.ID, why)
	}
	r.c.observe(Event{From: journal.FromAgent, Msg: e.msg, Dropped: e.Error()})
	return a
}

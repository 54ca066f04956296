package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// RunProcess runs a program to its end with empty input and returns what it
// wrote, up to the server's limits of time and size. A program that fails is not an
// error. For anything more use [Client.Command].
func (c *Client) RunProcess(ctx context.Context, req api.ProcessRunRequest) (*api.ProcessRunResult, error) {
	result, err := call[api.ProcessRunResult](ctx, c, http.MethodPost, "/v1/processes/run", nil, req)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", req.Command, err)
	}
	return result, nil
}

// StartProcess starts a program that runs on without this client, until it ends
// or is stopped.
func (c *Client) StartProcess(ctx context.Context, req api.ProcessCreateRequest) (*Process, error) {
	info, err := call[api.ProcessInfo](ctx, c, http.MethodPost, "/v1/processes", nil, req)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", req.Command, err)
	}
	return c.Process(info.ID), nil
}

// Processes lists the processes of an owner, of all when it is empty.
func (c *Client) Processes(ctx context.Context, owner api.ProcessOwner) ([]api.ProcessInfo, error) {
	query := url.Values{}
	if owner != "" {
		query.Set("owner", string(owner))
	}
	list, err := get[api.ProcessList](ctx, c, "/v1/processes", query)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	return list.Processes, nil
}

// Process returns a handle of the process with that id, without asking whether
// there is one.
func (c *Client) Process(id string) *Process { return &Process{ID: id, c: c} }

// A Process is a process in the sandbox, running or ended. One that does not
// exist, or was deleted, matches [api.CodeProcessNotFound] in all its methods.
type Process struct {
	ID string

	c *Client
}

func (p *Process) route(rest ...string) string {
	return route(append([]string{"v1", "processes", p.ID}, rest...)...)
}

func (p *Process) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s process %s: %w", doing, p.ID, err)
}

// Info describes the process as it is now.
func (p *Process) Info(ctx context.Context) (*api.ProcessInfo, error) {
	info, err := get[api.ProcessInfo](ctx, p.c, p.route(), nil)
	return info, p.failed("get", err)
}

// StopOptions say how a process is ended.
type StopOptions struct {
	Signal string        // such as "SIGINT"; empty means SIGTERM, or SIGKILL for Kill
	Wait   time.Duration // how long to wait for the end; one that still runs then is not an error
}

// Stop asks the process, and everything it started, to end.
func (p *Process) Stop(ctx context.Context, opts StopOptions) (*api.ProcessInfo, error) {
	return p.signal(ctx, "stop", opts)
}

// Kill ends the process and everything it started.
func (p *Process) Kill(ctx context.Context, opts StopOptions) (*api.ProcessInfo, error) {
	return p.signal(ctx, "kill", opts)
}

// Signal sends a signal, such as "SIGHUP", to the process and everything it
// started.
func (p *Process) Signal(ctx context.Context, signal string) error {
	_, err := p.signal(ctx, "signal", StopOptions{Signal: signal})
	return err
}

func (p *Process) signal(ctx context.Context, verb string, opts StopOptions) (*api.ProcessInfo, error) {
	query := url.Values{}
	if opts.Signal != "" {
		query.Set("signal", opts.Signal)
	}
	if opts.Wait > 0 {
		query.Set("waitMs", strconv.FormatInt(max(1, opts.Wait.Milliseconds()), 10))
	}
	info, err := call[api.ProcessInfo](ctx, p.c, http.MethodPost, p.route(verb), query, nil)
	return info, p.failed(verb, err)
}

// Delete forgets an ended process and its output. One that runs matches
// [api.CodeProcessRunning].
func (p *Process) Delete(ctx context.Context) error {
	return p.failed("delete", p.c.do(ctx, http.MethodDelete, p.route(), nil, nil))
}

// maxInput is how much input one request carries, in bytes, unless the server
// takes less.
const maxInput = 32 << 10

// Input writes to the standard input of the process, or to its terminal. It
// returns how much the process took. One that does not read within the server's
// time for that matches [api.CodeInputTimeout].
func (p *Process) Input(ctx context.Context, data []byte) (int, error) {
	for total, size := 0, maxInput; ; {
		part := data[total:min(total+size, len(data))]
		body := struct {
			Data     []byte `json:"data"`
			Encoding string `json:"encoding"`
		}{part, "base64"}
		if body.Data == nil {
			body.Data = []byte{}
		}
		result, err := call[api.ProcessInputResult](ctx, p.c, http.MethodPost, p.route("input"), nil, body)
		if limit := detail(err, "value"); errors.Is(err, api.CodeLimitExceeded) && 0 < limit && limit < size {
			size = limit
			continue
		}
		if err != nil {
			return total + detail(err, "bytesWritten"), p.failed("write to", err)
		}
		total += result.BytesWritten
		if result.BytesWritten < len(part) {
			return total, p.failed("write to", io.ErrShortWrite)
		}
		if total == len(data) {
			return total, nil
		}
	}
}

// detail returns a number among the details of a refusal, 0 if there is none.
func detail(err error, key string) int {
	var problem *api.Error
	if !errors.As(err, &problem) {
		return 0
	}
	n, _ := problem.Details[key].(float64)
	return int(n)
}

// CloseInput ends the standard input of the process.
func (p *Process) CloseInput(ctx context.Context) error {
	return p.failed("close input of", p.c.do(ctx, http.MethodPost, p.route("stdin", "close"), nil, nil))
}

// LogsOptions say which output of a process to read. The zero value is all that
// is kept so far.
type LogsOptions struct {
	Follow bool          // go on until the process ends
	Since  uint64        // only what comes after the entry of this sequence
	Tail   int           // only the last so many entries; 0 means all, negative none of those there are
	Stream api.LogStream // only this stream; empty means all
}

func (o LogsOptions) query() url.Values {
	q := url.Values{}
	if o.Follow {
		q.Set("follow", "true")
	}
	if o.Since > 0 {
		q.Set("since", strconv.FormatUint(o.Since, 10))
	}
	if o.Tail != 0 {
		q.Set("tail", strconv.Itoa(max(0, o.Tail)))
	}
	if o.Stream != "" {
		q.Set("stream", string(o.Stream))
	}
	return q
}

// An OutputLostError reports that output is no longer kept, in entries of a log or
// in bytes of a terminal. Reading may go on after it.
type OutputLostError struct {
	From, To uint64 // both lost, for a log; To is the first byte there is, for a terminal
}

func (e *OutputLostError) Error() string {
	return fmt.Sprintf("output from %d to %d is no longer kept", e.From, e.To)
}

// Logs yields the output of the process in the order in which it was read. A
// stream that breaks is taken up again where it was. Output that the server has
// dropped is an [*OutputLostError], after which the loop may go on; any other
// error is the last thing it yields.
func (p *Process) Logs(ctx context.Context, opts LogsOptions) iter.Seq2[api.LogEntry, error] {
	return func(yield func(api.LogEntry, error) bool) {
		if !opts.Follow {
			p.pages(ctx, opts, yield)
			return
		}
		_, err := p.follow(ctx, opts, yield)
		if err != nil && err != errStopped {
			yield(api.LogEntry{}, p.failed("follow", err))
		}
	}
}

// pages reads what is kept of a log.
func (p *Process) pages(ctx context.Context, opts LogsOptions, yield func(api.LogEntry, error) bool) {
	for {
		logs, err := get[api.ProcessLogs](ctx, p.c, p.route("logs"), opts.query())
		if err != nil {
			yield(api.LogEntry{}, p.failed("read output of", err))
			return
		}
		if logs.Gap != nil && !yield(api.LogEntry{}, &OutputLostError{logs.Gap.From, logs.Gap.To}) {
			return
		}
		for _, e := range logs.Entries {
			if !yield(e, nil) {
				return
			}
			opts.Since = e.Sequence
		}
		if !logs.More || len(logs.Entries) == 0 {
			return
		}
	}
}

// follow passes entries on until the process ends, and returns how it did. The
// error is errStopped when yield had enough.
func (p *Process) follow(ctx context.Context, opts LogsOptions, yield func(api.LogEntry, error) bool) (*api.ProcessInfo, error) {
	opts.Follow = true
	f := follower{
		c: p.c, request: request{path: p.route("logs"), query: opts.query()},
		ended: func() bool { return false }, giveUp: streamGiveUp,
	}
	for e, err := range f.events(ctx) {
		if err != nil {
			return nil, err
		}
		f.request.query.Del("tail") // it was about the beginning
		goesOn := true
		switch e.name {
		case "log":
			var entry api.LogEntry
			if err := json.Unmarshal(e.data, &entry); err != nil {
				return nil, fmt.Errorf("decode output: %w", err)
			}
			goesOn = yield(entry, nil)
		case "gap":
			var gap api.LogGap
			if err := json.Unmarshal(e.data, &gap); err != nil {
				return nil, fmt.Errorf("decode gap: %w", err)
			}
			goesOn = yield(api.LogEntry{}, &OutputLostError{gap.From, gap.To})
		case "exit":
			info := new(api.ProcessInfo)
			if err := json.Unmarshal(e.data, info); err != nil {
				return nil, fmt.Errorf("decode exit: %w", err)
			}
			return info, nil
		}
		if !goesOn {
			return nil, errStopped
		}
	}
	return nil, ctx.Err()
}

// Wait returns how the process ended, once it has.
func (p *Process) Wait(ctx context.Context) (*api.ProcessInfo, error) {
	info, err := p.follow(ctx, LogsOptions{Tail: -1}, func(api.LogEntry, error) bool { return true })
	return info, p.failed("wait for", err)
}

package fakeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

var (
	errHang = errors.New("hang") // the prompt gets no answer
	errExit = errors.New("exit") // the agent ends after the answer
)

// maxLongline bounds /longline in bytes.
const maxLongline = 1 << 30

// usage documents the keywords; tests and demos rely on them.
const usage = `The built-in agent speaks ACP on stdin and stdout and needs no model.

Say what to change and it plans, asks permission and does it in the working
directory of the session:
  add a README that says hello        write notes.txt with some text
  create a file called a.txt          append "more" to notes.txt
  replace old with new in a.txt       rename a.txt to b.txt
  delete b.txt                        run ls -la
Anything else gets a plain answer, without a permission request. "what did I
say" quotes your earlier messages. In mode plan nothing is changed.

Keywords at the start of a prompt, for tests and demos. session/cancel ends each
of them at once with stop reason "cancelled", unless said otherwise:
  /echo TEXT             answer with TEXT alone
  /thought TEXT          answer with a thought
  /plan                  send a plan
  /permission            ask for a permission and say what was chosen
  /delay 2s [PROMPT]     wait, then go on with PROMPT
  /burst N [BYTES]       send N updates as fast as possible, each a frame of about
                         BYTES (250), its text beginning with its number from 1
  /error [CODE] [TEXT]   fail the prompt (-32603)
  /stderr TEXT           write a line to stderr
  /rubbish [TEXT]        write a line to stdout that is not JSON, then go on
  /longline BYTES [raw]  write one update of that many bytes; raw: not JSON
  /silence               never answer
  /hang                  never answer, not even to a cancel
  /deaf                  answer, then stop reading stdin
  /exit                  answer, then end with exit code 0
  /crash [CODE]          end at once with CODE (1) and no answer
  /help                  this list

Methods outside of the protocol are echoed: a notification mock/echo, then
{"echoed": ...}.
`

// Usage is the help text of the agent.
func Usage() string { return usage }

// keyword does what a prompt that starts with a keyword asks for, and reports
// whether it did.
func (t *turn) keyword(ctx context.Context, text string) (bool, error) {
	if !strings.HasPrefix(text, "/") {
		return false, nil
	}
	word, args, _ := strings.Cut(text, " ")
	do, ok := map[string]func(context.Context, string) error{
		"/echo":       t.echoText,
		"/thought":    func(_ context.Context, args string) error { t.think(args); return nil },
		"/plan":       func(context.Context, string) error { t.plan("Do the work", true, false); return nil },
		"/permission": t.permission,
		"/delay":      t.delay,
		"/burst":      t.burst,
		"/error":      func(_ context.Context, args string) error { return scriptedError(args) },
		"/stderr":     t.stderr,
		"/rubbish":    t.rubbish,
		"/longline":   t.longline,
		"/silence":    func(ctx context.Context, _ string) error { _ = t.conn.Flush(); <-ctx.Done(); return ctx.Err() },
		"/hang":       t.hang,
		"/deaf":       t.stopReading,
		"/exit":       func(context.Context, string) error { return errExit },
		"/crash":      t.crash,
		"/help":       func(context.Context, string) error { t.say(usage); return nil },
	}[word]
	if !ok {
		return false, nil
	}
	return true, do(ctx, strings.TrimSpace(args))
}

func (t *turn) echoText(_ context.Context, args string) error {
	t.say(args)
	return nil
}

func (t *turn) permission(ctx context.Context, _ string) error {
	t.calls++
	return t.carryOut(ctx, step{
		call:  t.call("call-"+newID()[:8], acp.ToolOther, "Do nothing", struct{}{}, nil),
		apply: func(context.Context) (acp.ToolCall, error) { return acp.ToolCall{}, nil },
		done:  "I was allowed to.",
	})
}

func (t *turn) delay(ctx context.Context, args string) error {
	first, rest, _ := strings.Cut(args, " ")
	d, err := time.ParseDuration(first)
	if err != nil {
		return acp.Errorf(acp.CodeInvalidParams, "Invalid params: /delay needs a duration such as 2s, not %q", first)
	}
	_ = t.conn.Flush()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	rest = strings.TrimSpace(rest)
	if handled, err := t.keyword(ctx, rest); handled {
		return err
	}
	return t.work(ctx, rest)
}

// burst sends frames made by hand, since encoding would be slower than the
// readers it is to test. They are not kept in the history.
func (t *turn) burst(ctx context.Context, args string) error {
	fields := strings.Fields(args)
	n, size := numberAt(fields, 0, 1000), numberAt(fields, 1, 250)
	if n < 0 || size < 0 || size > maxLongline {
		return acp.Errorf(acp.CodeInvalidParams, "Invalid params: /burst needs a count and a size, not %q", args)
	}
	head := `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"` + t.session.id + `","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"`
	const end = `"}}}}`
	filler := bytes.Repeat([]byte("x"), max(0, size-len(head)-len(end)))
	frame := make([]byte, 0, max(size, len(head)+len(end)+32))
	for i := 1; i <= n; i++ {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		frame = append(frame[:0], head...)
		frame = strconv.AppendInt(frame, int64(i), 10)
		frame = append(frame, ' ')
		if room := size - len(frame) - len(end); room > 0 {
			frame = append(frame, filler[:room]...)
		}
		frame = append(frame, end...)
		if err := t.conn.Queue(frame); err != nil {
			return fmt.Errorf("write update: %w", err)
		}
	}
	return nil
}

// numberAt reads a field as a number: def without one, -1 if it is not a number.
func numberAt(fields []string, i, def int) int {
	if i >= len(fields) {
		return def
	}
	n, err := strconv.Atoi(fields[i])
	if err != nil {
		return -1
	}
	return n
}

func scriptedError(args string) error {
	code, text := acp.CodeInternalError, args
	first, rest, _ := strings.Cut(args, " ")
	if n, err := strconv.Atoi(first); err == nil {
		code, text = n, rest
	}
	if text == "" {
		text = "scripted error"
	}
	return acp.Errorf(code, "%s", text)
}

func (t *turn) stderr(_ context.Context, args string) error {
	if _, err := fmt.Fprintln(t.opts.Stderr, args); err != nil {
		return fmt.Errorf("write stderr: %w", err)
	}
	t.say("I wrote that to stderr.")
	return nil
}

func (t *turn) rubbish(_ context.Context, args string) error {
	if args == "" {
		args = "this is not JSON"
	}
	if err := t.conn.Send([]byte(args)); err != nil {
		return fmt.Errorf("write rubbish: %w", err)
	}
	t.say("I wrote rubbish.")
	return nil
}

func (t *turn) longline(_ context.Context, args string) error {
	fields := strings.Fields(args)
	n := numberAt(fields, 0, 1<<20)
	if n < 0 || n > maxLongline {
		return acp.Errorf(acp.CodeInvalidParams, "Invalid params: /longline needs a size up to %d, not %q", maxLongline, args)
	}
	if len(fields) > 1 && fields[1] == "raw" {
		return t.conn.Send(bytes.Repeat([]byte("x"), n))
	}
	return t.burst(t.ctx, "1 "+strconv.Itoa(n))
}

func (t *turn) hang(context.Context, string) error {
	_ = t.conn.Flush()
	<-t.ctx.Done()
	return errHang
}

func (t *turn) stopReading(context.Context, string) error {
	t.deafOnce.Do(func() { close(t.deaf) })
	t.say("I do not listen any more.")
	return nil
}

func (t *turn) crash(_ context.Context, args string) error {
	code := numberAt(strings.Fields(args), 0, 1)
	_ = t.conn.Flush()
	t.opts.Exit(code)
	return errHang
}

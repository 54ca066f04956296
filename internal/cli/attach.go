package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func newSessionsAttach(g *globals) *cobra.Command {
	after := uint64(0)
	cmd := &cobra.Command{
		Use:   "attach ID",
		Short: "Watch a session and take part in it",
		Long: `Watch a session and take part in it: first what happened so far, then what happens,
whoever causes it. Any number may be attached at once, and a server that goes away
is waited for.

A line that you type is a prompt; while another one is worked on it waits. When the
agent asks, answer y (yes), a (always) or n (no). Ctrl-C cancels the turn; Ctrl-D,
the end of the input, detaches and leaves the session as it is. Input that is no
terminal is done before that: attach then waits for the end of the turns.

Exit codes: 0 detached; 1 something went wrong; 2 the command was not understood; 5
the input ended while the agent waits for an answer; 130 interrupted with nothing
to cancel.`,
		Example: `  sandbox-agent sessions attach 3f2a
  echo "now add a licence" | sandbox-agent sessions attach --after 120 3f2a`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: func(cmd *cobra.Command, args []string) error {
			client := g.dialNamed()
			defer client.Close()
			a := &attachment{g: g, view: &sessionView{view: newView(g)}, session: client.Sessions().Session(args[0]), seen: make(map[string]bool)}
			a.session.Queue = true
			return g.explain(client, a.run(cmd.Context(), after))
		},
	}
	cmd.Flags().Uint64Var(&after, "after", 0, "show only what comes behind the event of this number")
	return cmd
}

// attachment is somebody who watches a session.
type attachment struct {
	g       *globals
	view    *sessionView
	session *sandboxagent.ServerSession

	last      uint64           // newest event that was shown
	present   uint64           // event from which on questions are asked
	questions []api.Permission // that wait; the first one was asked
	seen      map[string]bool  // questions that were asked or answered
	wanted    uint64           // event of a question that is not in the list yet
	tries     int
	again     <-chan time.Time // when to look at the list again
	marked    bool             // the mark for a prompt is shown
	asking    bool             // the question is what stands on the last line
	busy      bool             // a prompt of ours was taken, and no turn has ended since
}

// How long answers of the server may take, and how often it is asked again.
const (
	attachCall  = 30 * time.Second
	questionTry = 20 * time.Millisecond
	questionMax = 10
	drainAgain  = 100 * time.Millisecond
)

type attachEvent struct {
	sandboxagent.SessionEvent
	err error
}

func (a *attachment) run(ctx context.Context, after uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	info, err := a.session.Info(ctx)
	if err != nil {
		return err
	}
	a.present, a.last = info.LastEvent, after
	a.view.note(fmt.Sprintf("session %s: %s in %s, %s", info.ID, info.Agent, info.CWD, info.Status))
	events, lines := a.follow(ctx, after), a.read(ctx)
	if a.last >= a.present {
		a.look(ctx)
	}
	var draining <-chan time.Time
	for {
		a.mark()
		typed := lines
		if !a.listens() {
			typed = nil
		}
		select {
		case e := <-events:
			if e.err != nil {
				return e.err
			}
			a.take(ctx, e.SessionEvent)
		case line, ok := <-typed:
			if ok {
				a.typed(ctx, line)
				continue
			}
			if lines = nil; a.g.env.InTerminal {
				a.detach(info.ID)
				return nil
			}
			draining = time.Tick(drainAgain)
		case sig := <-a.g.env.Signals:
			if sig != os.Interrupt && sig != syscall.SIGINT {
				return exitStatus(signalled{sig}.status())
			}
			if err := a.cancel(ctx); err != nil {
				return err
			}
		case <-a.again:
			a.look(ctx)
		case <-draining:
			if done, err := a.drained(ctx); done || err != nil {
				return err
			}
		}
	}
}

// listens reports whether a line has a meaning now: not while the past is shown.
// Lines of a file are meant one after the other, so that the next one waits for a
// question or the end of the turn.
func (a *attachment) listens() bool {
	if a.last < a.present || a.again != nil {
		return false
	}
	return a.g.env.InTerminal || len(a.questions) > 0 || !a.busy && !a.view.running()
}

// follow hands on the events of the session.
func (a *attachment) follow(ctx context.Context, after uint64) <-chan attachEvent {
	events := make(chan attachEvent)
	go func() {
		for e, err := range a.session.Events(ctx, after) {
			select {
			case events <- attachEvent{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events
}

// read hands on what is typed. It is not waited for, since nothing ends a Read
// of standard input.
func (a *attachment) read(ctx context.Context) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewReader(a.g.env.In)
		for {
			line, err := in.ReadString('\n')
			if text := strings.TrimSpace(line); text != "" {
				select {
				case lines <- text:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// mark shows on a terminal that a prompt may be typed.
func (a *attachment) mark() {
	terminal := a.g.env.InTerminal && a.g.env.ErrTerminal && !a.g.json
	if !terminal || a.marked || a.last < a.present || len(a.questions) > 0 || a.view.running() {
		return
	}
	a.view.question("> ")
	a.marked = true
}

// unmark makes room for what is shown next.
func (a *attachment) unmark() {
	if a.asking {
		fmt.Fprintln(a.g.env.Err)
		a.asking = false
	}
	if a.marked {
		fmt.Fprint(a.g.env.Err, "\r\x1b[K")
		a.marked = false
	}
}

func (a *attachment) detach(id string) {
	a.view.line()
	fmt.Fprintf(a.g.env.Err, "\ndetached; come back with: sandbox-agent sessions attach %s\n", id)
}

// take shows an event, and asks what it asks.
func (a *attachment) take(ctx context.Context, e sandboxagent.SessionEvent) {
	a.unmark()
	running := a.view.running()
	a.view.event(e)
	if running && !a.view.running() || e.Method() == api.EventTurnEnded {
		a.busy = false
	}
	before := a.last
	if a.last = e.EventIndex; e.Gap != nil {
		a.last = e.Gap.To
	}
	if a.last < a.present {
		return
	}
	switch e.Method() {
	case acp.MethodRequestPermission:
		a.wanted, a.tries = e.EventIndex, questionMax
	case api.EventPermissionResolved:
	default:
		if before >= a.present {
			a.ask() // again, as it has scrolled away
			return
		}
		// The past is over, and what it has left open is asked.
	}
	a.look(ctx)
}

// look asks the oldest question that waits. The server's list may be a moment
// behind its events, so that it is looked at again.
func (a *attachment) look(ctx context.Context) {
	a.again = nil
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	list, err := a.session.Permissions(ctx)
	if err != nil {
		a.complain(err)
		return
	}
	a.questions = slices.DeleteFunc(list, func(p api.Permission) bool { return a.seen[p.ID] })
	for _, p := range list {
		if p.Event >= a.wanted {
			a.tries = 0
		}
	}
	if a.tries > 0 {
		a.tries--
		a.again = time.After(questionTry)
	}
	a.ask()
}

// ask asks the oldest question, unless it stands there or there is none.
func (a *attachment) ask() {
	if len(a.questions) == 0 || a.asking || a.g.json {
		return
	}
	p := a.questions[0]
	choices := "[y]es, [n]o"
	if slices.Contains(p.AvailableReplies, api.ReplyAlways) {
		choices = "[y]es, [a]lways, [n]o"
	}
	a.unmark()
	a.asking = true
	a.view.question(fmt.Sprintf("Allow %s? %s: ", describeCall(p.ToolCall), choices))
}

// typed takes a line: the answer to a question, or a prompt.
func (a *attachment) typed(ctx context.Context, line string) {
	a.marked, a.asking = false, false // the line has ended it
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	if len(a.questions) > 0 {
		a.reply(ctx, line)
		return
	}
	a.view.said(line)
	if _, err := a.session.PromptAsync(ctx, sandboxagent.Text(line)); err != nil {
		a.complain(err)
		return
	}
	a.busy = true
}

func (a *attachment) reply(ctx context.Context, line string) {
	replies := map[string]sandboxagent.Reply{
		"y": sandboxagent.Once, "yes": sandboxagent.Once, "a": sandboxagent.Always, "always": sandboxagent.Always,
		"n": sandboxagent.Reject, "no": sandboxagent.Reject,
	}
	p := a.questions[0]
	reply, ok := replies[strings.ToLower(line)]
	if !ok || !slices.Contains(p.AvailableReplies, string(reply)) {
		a.ask()
		return
	}
	a.seen[p.ID] = true
	if _, err := a.session.ReplyPermission(ctx, p.ID, reply); err != nil {
		a.complain(err)
	}
	a.look(ctx)
}

// cancel ends the turn. Without one it is taken for the wish to leave.
func (a *attachment) cancel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	a.view.note("cancelling")
	result, err := a.session.Cancel(ctx)
	if err != nil {
		a.complain(err)
		return nil
	}
	if result.Cancelled == 0 {
		return exitStatus(exitCancelled)
	}
	return nil
}

// drained reports, after the input has ended, whether all it has begun is done.
func (a *attachment) drained(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	info, err := a.session.Info(ctx)
	switch {
	case err != nil:
		return false, nil // the events will tell
	case info.PendingPermissions > 0 && len(a.questions) > 0:
		fmt.Fprintf(a.g.env.Err, "sandbox-agent: the agent waits for an answer; give it with sandbox-agent sessions attach %s\n", info.ID)
		return true, exitStatus(exitUnasked)
	}
	return info.Turn == "" && info.Queued == 0 && a.last >= info.LastEvent, nil
}

func (a *attachment) complain(err error) {
	a.unmark()
	a.view.errorLine(a.view.paint(red, err.Error()))
}

// sessionView shows the events of a session.
type sessionView struct {
	*view
	own   []string        // prompts that were typed here, and so are on the screen
	calls map[string]bool // ids of prompts that are worked on
}

// said notes a prompt that was typed on the terminal.
func (v *sessionView) said(text string) {
	if v.g.env.InTerminal {
		v.own = append(v.own, text)
	}
}

func (v *sessionView) running() bool { return len(v.calls) > 0 }

func (v *sessionView) event(e sandboxagent.SessionEvent) {
	if v.g.json && e.Gap == nil {
		v.json(e.SessionEvent)
		return
	}
	if u, ok := e.Update(); ok {
		v.update(u)
		return
	}
	if said, ok := e.Prompt(); ok {
		v.prompt(e, said.Text())
		return
	}
	switch e.Method() {
	case acp.MethodRequestPermission:
		var p acp.PermissionRequest
		if e.Params(&p) == nil {
			v.call(p.ToolCall)
		}
	case "":
		v.answer(e)
	default:
		v.notice(e)
	}
}

func (v *sessionView) prompt(e sandboxagent.SessionEvent, text string) {
	var frame struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(e.Payload, &frame) == nil {
		if v.calls == nil {
			v.calls = make(map[string]bool)
		}
		v.calls[string(frame.ID)] = true
	}
	if i := slices.Index(v.own, text); i >= 0 {
		v.own = slices.Delete(v.own, i, i+1)
		return
	}
	v.line()
	v.errorLine(v.paint(bold, "> "+text))
}

// answer shows the answer to a prompt; others say nothing to people.
func (v *sessionView) answer(e sandboxagent.SessionEvent) {
	var frame struct {
		ID     json.RawMessage  `json:"id"`
		Result acp.PromptResult `json:"result"`
		Error  *acp.RPCError    `json:"error"`
	}
	if json.Unmarshal(e.Payload, &frame) != nil || e.Sender != "agent" || !v.calls[string(frame.ID)] {
		return
	}
	delete(v.calls, string(frame.ID))
	if frame.Error != nil {
		v.errorLine(v.paint(red, frame.Error.Error()))
		return
	}
	v.ended(frame.Result.StopReason, frame.Result.Usage)
}

func (v *sessionView) ended(reason string, usage *acp.Usage) {
	words := "ended"
	switch reason {
	case acp.StopEndTurn:
	case acp.StopCancelled:
		words = "cancelled"
	default:
		words += " with " + reason
	}
	if usage != nil {
		words += fmt.Sprintf(" after %d tokens", usage.TotalTokens)
	}
	v.note(words)
}

// notice shows what the server says of the session.
func (v *sessionView) notice(e sandboxagent.SessionEvent) {
	switch e.Method() {
	case api.EventPermissionResolved:
		var p api.PermissionResolved
		if e.Params(&p) == nil {
			v.note("answered with " + p.Reply + " by " + printable(p.By))
		}
	case api.EventSessionRestored:
		var r api.SessionRestored
		if e.Params(&r) == nil {
			v.note("the agent is back: " + r.How)
		}
	case api.EventSessionStopped:
		var p struct{ Reason string }
		clear(v.calls)
		if e.Params(&p) == nil {
			v.note("the agent was stopped: " + p.Reason)
		}
	case api.EventTurnEnded:
		var p struct{ StopReason, Error string }
		clear(v.calls)
		if e.Params(&p) == nil && p.Error != "" {
			v.errorLine(v.paint(red, p.Error))
		} else {
			v.ended(p.StopReason, nil)
		}
	case api.EventSessionDestroyed:
		v.note("the session was destroyed")
	}
}

// sessionPrompt are the flags of sessions prompt.
type sessionPrompt struct {
	queue, async, yes bool
}

func newSessionsPrompt(g *globals) *cobra.Command {
	o := &sessionPrompt{}
	cmd := &cobra.Command{
		Use:   "prompt ID [TASK...]",
		Short: "Give the agent of a session a task",
		Long: `Give the agent of a session a task and watch it work. The task is the arguments, or
what is on standard input. What the agent says goes to standard output; what it
does, to standard error.

The agent's questions wait for whoever answers them, with sandbox-agent sessions
attach or another client; --yes allows everything. Ctrl-C cancels the turn; a
second one leaves at once, and the turn goes on.

Exit codes: 0 the turn ended; 1 something went wrong; 2 the command was not
understood; 3 the agent refused; 4 the agent reached a limit; 130 cancelled.`,
		Example: `  sandbox-agent sessions prompt 3f2a now add a licence
  sandbox-agent sessions prompt --async --queue 3f2a "and then the tests"`,
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeSession,
		RunE: func(cmd *cobra.Command, args []string) error {
			task, err := readTask(g, args[1:])
			if err != nil {
				return err
			}
			client := g.dialNamed()
			defer client.Close()
			session := client.Sessions().Session(args[0])
			session.Queue = o.queue
			return g.explain(client, o.run(cmd.Context(), g, session, task))
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVar(&o.queue, "queue", false, "wait for the turn under way instead of failing")
	f.BoolVar(&o.async, "async", false, "do not wait for the end; print the number of the event the turn begins at")
	f.BoolVarP(&o.yes, "yes", "y", false, "allow whatever the agent asks for")
	return cmd
}

func (o *sessionPrompt) run(ctx context.Context, g *globals, session *sandboxagent.ServerSession, task string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.async {
		started, err := session.PromptAsync(ctx, sandboxagent.Text(task))
		switch {
		case err != nil:
			return err
		case g.json:
			return printJSON(g.env.Out, started)
		}
		_, err = fmt.Fprintln(g.env.Out, started.FirstEvent)
		return err
	}
	go o.cancelOnSignal(ctx, g, session)
	if o.yes {
		go func() {
			err := session.OnPermission(ctx, func(context.Context, api.Permission) (sandboxagent.Reply, error) { return sandboxagent.Once, nil })
			if err != nil {
				fmt.Fprintln(g.env.Err, "sandbox-agent:", err)
			}
		}()
	}
	view := &sessionView{view: newView(g), own: []string{task}}
	var turn *api.SessionTurn
	for e, err := range session.PromptStream(ctx, sandboxagent.Text(task)) {
		if err != nil {
			view.line()
			return err
		}
		if turn = e.Turn; turn != nil {
			break
		}
		view.event(e)
		if e.Method() == acp.MethodRequestPermission && !o.yes {
			view.note("the agent asks; answer with: sandbox-agent sessions attach " + session.ID)
		}
	}
	if turn == nil {
		return errors.New("the turn ended without a result")
	}
	view.line()
	if g.json {
		view.json(map[string]any{"turn": turn})
	}
	return stopStatus(turn.StopReason)
}

// stopStatus is the exit code for how a turn ended.
func stopStatus(reason string) error {
	switch reason {
	case acp.StopRefusal:
		return exitStatus(exitRefused)
	case acp.StopMaxTokens, acp.StopMaxTurnRequests:
		return exitStatus(exitLimit)
	case acp.StopCancelled:
		return exitStatus(exitCancelled)
	}
	return nil
}

// cancelOnSignal cancels the turn at the first signal and ends the program at
// the second.
func (o *sessionPrompt) cancelOnSignal(ctx context.Context, g *globals, session *sandboxagent.ServerSession) {
	select {
	case <-g.env.Signals:
	case <-ctx.Done():
		return
	}
	fmt.Fprintln(g.env.Err, "\ncancelling; Ctrl-C again leaves at once")
	go func() {
		if _, err := session.Cancel(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(g.env.Err, "sandbox-agent:", err)
		}
	}()
	if _, ok := <-g.env.Signals; ok {
		os.Exit(exitCancelled)
	}
}

package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
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
whichever client causes it. Any number may be attached at once. A server that goes away is
waited for, and what you type until it is back is kept for it.

A line that you type is a prompt; while another one is worked on it waits. When the
agent asks, reply y (yes), a (always) or n (no). Only a line that you began after the
permission request was shown is a reply; any other line is kept as the next prompt,
or refused with the reason. Ctrl-C cancels the turn; Ctrl-D, the end of the input,
detaches and leaves the session as it is. Input that is not a terminal is done
before that: attach then waits for the end of the turns.

Exit codes: 0 detached; 1 something went wrong; 2 the command was not understood; 5
the input ended while the agent waits for an answer; 130 interrupted with nothing
to cancel.`,
		Example: `  sandbox-agent sessions attach 3f2a
  echo "now add a licence" | sandbox-agent sessions attach --after 120 3f2a`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: func(cmd *cobra.Command, args []string) error {
			a := &attachment{g: g, view: &sessionView{view: newView(g)}, in: newInput(g.env), seen: make(map[string]bool), reach: make(reach, 1)}
			client := g.dial(sandboxagent.WithReconnect(a.reach.report))
			defer client.Close()
			g.introduce(cmd.Context(), client)
			session, err := g.findSession(cmd.Context(), client, args[0])
			if err != nil {
				return g.explain(client, err)
			}
			a.session = session
			a.session.Queue = true
			return g.explain(client, a.run(cmd.Context(), after))
		},
	}
	cmd.Flags().Uint64Var(&after, "after", 0, "show only what comes behind the event of this number")
	return cmd
}

// attachment is a user who watches a session.
type attachment struct {
	g       *globals
	view    *sessionView
	in      *input
	session *sandboxagent.Session

	last     uint64           // newest event that was shown
	present  uint64           // event from which on permission requests are shown
	requests []api.Permission // that wait; the first one was shown
	seen     map[string]bool  // requests that were shown, or have their reply
	wanted   uint64           // event of a request that is not in the list yet
	tries    int
	again    <-chan time.Time // when to look at the list again
	marked   bool             // the mark for a prompt is shown
	asking   bool             // the request is on the last line
	shown    string           // request that was shown last
	missed   bool             // it was resolved elsewhere, and no line was typed since
	busy     bool             // a prompt of ours was taken, and no turn has ended since

	reach  reach
	away   bool             // the server cannot be reached
	held   []heldPrompt     // that the server does not have yet
	resend <-chan time.Time // when to give them to it
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
	after = min(after, info.LastEvent) // what comes next is wanted in any case
	a.present, a.last = info.LastEvent, after
	a.view.note(fmt.Sprintf("session %s: %s in %s, %s", info.ID, info.Agent, info.CWD, info.Status))
	defer a.lose()
	events := a.follow(ctx, after)
	if a.last >= a.present {
		a.look(ctx)
	}
	var draining <-chan time.Time
	for {
		a.mark()
		var lines <-chan struct{}
		if draining == nil && a.listens() {
			lines = a.in.await()
		}
		select {
		case e := <-events:
			if e.err != nil {
				return e.err
			}
			a.take(ctx, e.SessionEvent)
		case <-lines:
			t, ok := a.in.take()
			switch {
			case !ok:
			case !t.end:
				a.typed(ctx, t)
			case a.g.env.InTerminal:
				a.detach(info.ID)
				return nil
			default:
				draining = time.Tick(drainAgain)
			}
		case sig := <-a.g.env.Signals:
			if sig != os.Interrupt && sig != syscall.SIGINT {
				return exitStatus(signalled{sig}.status())
			}
			if err := a.cancel(ctx); err != nil {
				return err
			}
		case <-a.again:
			a.look(ctx)
		case err := <-a.reach:
			a.reached(ctx, err)
		case <-a.resend:
			a.deliver(ctx)
		case <-draining:
			if done, err := a.drained(ctx); done || err != nil {
				return err
			}
		}
	}
}

// listens reports whether a line has a meaning now: not while the past is shown.
// Lines of a file are meant one after the other, so that the next one waits for a
// permission request or the end of the turn.
func (a *attachment) listens() bool {
	if a.last < a.present || a.again != nil || !a.g.env.InTerminal && len(a.held) > 0 {
		return false
	}
	return a.g.env.InTerminal || len(a.requests) > 0 || !a.busy && !a.view.running()
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

// mark shows on a terminal that a prompt may be typed.
func (a *attachment) mark() {
	terminal := a.g.env.InTerminal && a.g.env.ErrTerminal && !a.g.json
	if !terminal || a.marked || a.last < a.present || len(a.requests) > 0 || a.view.running() {
		return
	}
	a.view.openLine("> ")
	a.marked = true
}

// unmark makes room for what is shown next.
func (a *attachment) unmark() {
	a.asking = false
	if a.marked {
		fmt.Fprint(a.g.env.Err, "\r"+eraseLine)
		a.view.open = false
		a.marked = false
	}
}

func (a *attachment) detach(id string) {
	a.view.line()
	fmt.Fprintf(a.g.env.Err, "detached; come back with: %s\n", a.g.command("sessions attach", id))
}

// take shows an event, and asks what it asks.
func (a *attachment) take(ctx context.Context, e sandboxagent.SessionEvent) {
	a.unmark()
	a.arrived(e)
	running := a.view.running()
	a.view.event(e)
	switch e.Method() {
	case api.EventSessionStopped: // another agent may get the prompt
	case api.EventTurnEnded, api.EventPromptDropped:
		a.busy = false
	default:
		a.busy = a.busy && (!running || a.view.running())
	}
	before := a.last
	a.last = e.Cursor()
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

// look shows the oldest permission request that waits. The server's list may be a moment
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
	waits := slices.ContainsFunc(list, func(p api.Permission) bool { return p.ID == a.shown })
	if a.shown != "" && !waits && !a.seen[a.shown] {
		a.missed, a.seen[a.shown] = true, true
	}
	a.requests = slices.DeleteFunc(list, func(p api.Permission) bool { return a.seen[p.ID] })
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

// ask shows the oldest permission request, unless it is shown or none waits.
func (a *attachment) ask() {
	if len(a.requests) == 0 || a.asking {
		return
	}
	p := a.requests[0]
	draw := func(bool) {
		if a.g.json {
			return // its event was shown
		}
		a.unmark()
		a.asking = true
		always := slices.Contains(p.AvailableReplies, api.ReplyAlways)
		a.view.openLine(fmt.Sprintf("Allow %s? %s: ", describeCall(p.ToolCall), replyChoices(always)))
	}
	if p.ID == a.shown {
		draw(false)
		return
	}
	a.in.show(draw)
	a.shown, a.missed = p.ID, false
}

// visible reports whether a permission request that was shown can be seen by
// the user. What comes through a pipe was written to be a reply.
func (a *attachment) visible() bool {
	switch {
	case !a.g.env.InTerminal:
		return true
	case a.g.json:
		return a.g.env.OutTerminal
	}
	return a.g.env.ErrTerminal
}

// typed takes a line: the reply to a permission request, or a prompt.
func (a *attachment) typed(ctx context.Context, t typed) {
	a.marked, a.asking = false, false // the line has ended it
	a.view.entered()
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	waits := len(a.requests) > 0
	if waits && t.stale == "" && a.in.followed() {
		t.stale = pastedAlong
	}
	reply, isReply := replyOf(t.line())
	_, endsInReply := replyOf(t.text)
	missed := a.missed
	a.missed = false
	switch {
	case t.line() == "":
	case t.stale != "" && (isReply || endsInReply):
		a.refuse(t, t.stale)
	case isReply && waits && !a.visible():
		a.refuse(t, "no reply, as the permission request cannot be shown: standard error is not a terminal")
	case isReply && waits:
		a.reply(ctx, t, reply)
	case isReply && a.away:
		a.refuse(t, "no reply, as the server does not answer")
	case isReply && missed:
		a.refuse(t, "too late, as the permission request was resolved before")
	case isReply && a.g.env.InTerminal && (a.busy || a.view.running()):
		a.refuse(t, "no reply, as no permission request waits")
	default:
		a.prompt(ctx, t.line(), waits)
	}
	a.ask()
}

// refuse says that a line was taken neither as a reply nor as a prompt, and why.
func (a *attachment) refuse(t typed, why string) {
	a.view.errorLine(a.view.paint(dim, fmt.Sprintf("· discarded %q, which was %s", t.line(), why)))
}

// prompt gives the agent the next task. While a permission request waits it says
// what has become of the line, since it may have been meant as a reply.
func (a *attachment) prompt(ctx context.Context, text string, waits bool) {
	a.view.said(text)
	if a.away || len(a.held) > 0 {
		a.hold(heldPrompt{text: text})
		return
	}
	_, err := a.session.PromptAsync(ctx, sandboxagent.Text(text))
	switch {
	case unanswered(err):
		a.hold(heldPrompt{text: text, sent: true})
		return
	case err != nil:
		a.complain(err)
		return
	}
	a.busy = true
	if waits {
		a.view.note(fmt.Sprintf("kept %q as the next prompt; it is not a reply to the permission request", text))
	}
}

func (a *attachment) reply(ctx context.Context, t typed, reply sandboxagent.Reply) {
	p := a.requests[0]
	if !slices.Contains(p.AvailableReplies, string(reply)) {
		a.refuse(t, "no reply that this permission request takes")
		return
	}
	a.seen[p.ID] = true
	_, err := a.session.Reply(ctx, p.ID, reply)
	if err != nil {
		a.complain(err)
	}
	if unanswered(err) {
		delete(a.seen, p.ID) // it may wait still
		return
	}
	a.look(ctx)
}

// cancel ends the turn. Without one it is taken for the wish to leave.
func (a *attachment) cancel(ctx context.Context) error {
	if a.away {
		return exitStatus(exitCancelled)
	}
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
	case info.PendingPermissions > 0 && len(a.requests) > 0:
		fmt.Fprintf(a.g.env.Err, "sandbox-agent: the agent waits for an answer; give it with: %s\n", a.g.command("sessions attach", info.ID))
		return true, exitStatus(exitUnasked)
	}
	return len(a.held) == 0 && info.Turn == "" && info.Queued == 0 && a.last >= info.LastEvent, nil
}

func (a *attachment) complain(err error) {
	a.unmark()
	a.view.errorLine(a.view.paint(red, err.Error()))
}

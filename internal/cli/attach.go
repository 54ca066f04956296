package cli

import (
	"bufio"
	"context"
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
	after = min(after, info.LastEvent) // what comes next is wanted in any case
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
	switch e.Method() {
	case api.EventSessionStopped: // another agent may get the prompt
	case api.EventTurnEnded, api.EventPromptDropped:
		a.busy = false
	default:
		a.busy = a.busy && (!running || a.view.running())
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

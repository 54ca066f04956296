package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

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

Permission requests wait for a reply by sandbox-agent sessions attach or another
client; --yes allows everything. Ctrl-C cancels the turn; a second one leaves at
once, and the turn goes on.

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
			client := g.dial()
			defer client.Close()
			g.introduce(cmd.Context(), client)
			session, err := g.findSession(cmd.Context(), client, args[0])
			if err != nil {
				return g.explain(client, err)
			}
			session.Queue = o.queue
			return g.explain(client, o.run(cmd.Context(), g, session, task))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.queue, "queue", false, "wait for the turn under way instead of failing")
	f.BoolVar(&o.async, "async", false, "do not wait for the end; print the number of the event the turn begins at")
	f.BoolVarP(&o.yes, "yes", "y", false, "allow whatever the agent asks for")
	return cmd
}

func (o *sessionPrompt) run(ctx context.Context, g *globals, session *sandboxagent.Session, task string) error {
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
		session.OnPermission(sandboxagent.AllowAll)
	}
	view := &sessionView{view: newView(g), own: []string{task}}
	var turn *sandboxagent.Turn
	for u, err := range session.Stream(ctx, sandboxagent.Text(task)) {
		if err != nil {
			view.line()
			return err
		}
		if turn = u.Turn; turn != nil {
			break
		}
		view.event(u.Event)
		if u.Permission != nil && !o.yes {
			view.note("the agent asks; answer with: " + g.command("sessions attach", session.ID))
		}
	}
	if turn == nil {
		return errors.New("the turn ended without a result")
	}
	view.line()
	switch {
	case g.json:
		view.json(map[string]any{"turn": turn})
	case turn.Unsaved:
		view.errorLine(view.paint(red, unsaved))
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
func (o *sessionPrompt) cancelOnSignal(ctx context.Context, g *globals, session *sandboxagent.Session) {
	select {
	case <-g.env.Signals:
	case <-ctx.Done():
		return
	}
	fmt.Fprintln(g.env.Err, "\ncancelling; Ctrl-C again leaves at once")
	go func() {
		if err := cancelTurn(ctx, session); err != nil && ctx.Err() == nil {
			fmt.Fprintln(g.env.Err, "sandbox-agent:", err)
		}
	}()
	if _, ok := <-g.env.Signals; ok {
		os.Exit(exitCancelled)
	}
}

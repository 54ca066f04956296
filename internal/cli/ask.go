package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// asks reports whether the user can be asked.
func (g *globals) asks() bool { return g.env.InTerminal && g.env.ErrTerminal && !g.json }

// asker replies to permission requests that the policy asks about: by --yes, or by
// the user at the terminal, or without one rejects them.
type asker struct {
	g       *globals
	view    *view
	yes     bool
	in      *input // nil until the first permission request
	unasked bool   // something was rejected because there is no terminal
}

func (a *asker) decide(ctx context.Context, req api.Permission) sandboxagent.Reply {
	switch {
	case a.yes:
		return sandboxagent.Once
	case a.g.asks():
		return a.ask(ctx, req)
	}
	a.unasked = true
	return sandboxagent.Reject
}

// replyWords are what answers a permission request, in any case of letters.
var replyWords = map[string]sandboxagent.Reply{
	"y": sandboxagent.Once, "yes": sandboxagent.Once,
	"a": sandboxagent.Always, "always": sandboxagent.Always,
	"n": sandboxagent.Reject, "no": sandboxagent.Reject,
}

// replyOf returns the reply that a line is, if it is one.
func replyOf(line string) (sandboxagent.Reply, bool) {
	reply, ok := replyWords[strings.ToLower(strings.TrimSpace(line))]
	return reply, ok
}

// replyChoices names the words that answer a permission request.
func replyChoices(always bool) string {
	if always {
		return "[y]es, [a]lways, [n]o"
	}
	return "[y]es, [n]o"
}

// ask asks on the terminal until a line that was typed since then is a reply. The
// end of the input means no.
func (a *asker) ask(ctx context.Context, req api.Permission) sandboxagent.Reply {
	always := slices.Contains(req.AvailableReplies, api.ReplyAlways)
	reply := sandboxagent.Reject
	err := a.line(ctx, fmt.Sprintf("Allow %s? %s: ", describeCall(req.ToolCall), replyChoices(always)), func(line string) bool {
		r, ok := replyOf(line)
		if ok = ok && (always || r != sandboxagent.Always); ok {
			reply = r
		}
		return ok
	})
	if err != nil {
		return ""
	}
	return reply
}

// line asks until accept takes a line that was typed after the question was shown, or
// the input ends. The error is that of ctx.
func (a *asker) line(ctx context.Context, question string, accept func(line string) bool) error {
	if a.in == nil {
		a.in = newInput(a.g.env)
	}
	a.in.show(func(early bool) {
		if early {
			a.view.discarded(typedBefore)
		}
		a.in.drop()
		a.view.openLine(question)
	})
	for {
		t, err := a.in.next(ctx)
		if err != nil {
			return err
		}
		a.view.entered()
		if t.stale == "" && a.in.followed() {
			t.stale = pastedAlong
		}
		switch {
		case t.stale != "":
			a.view.discarded(t.stale)
			a.in.drop()
		case t.end || accept(t.line()):
			return nil
		case t.line() != "":
			a.view.errorLine(fmt.Sprintf("%q is not a reply to this request", t.line()))
		}
		a.view.openLine(question)
	}
}

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
	if a.in == nil {
		a.in = newInput(a.g.env)
	}
	always := slices.Contains(req.AvailableReplies, api.ReplyAlways)
	question := fmt.Sprintf("Allow %s? %s: ", describeCall(req.ToolCall), replyChoices(always))
	a.in.show(func(early bool) {
		if early {
			a.view.discarded(typedBefore)
		}
		a.in.drop()
		a.view.question(question)
	})
	for {
		t, err := a.in.next(ctx)
		if err != nil {
			return ""
		}
		a.view.entered()
		reply, ok := replyOf(t.line())
		if t.stale == "" && a.in.followed() {
			t.stale = pastedAlong
		}
		switch {
		case t.stale != "":
			a.view.discarded(t.stale)
			a.in.drop()
		case t.end:
			return sandboxagent.Reject
		case ok && (always || reply != sandboxagent.Always):
			return reply
		case t.line() != "":
			a.view.errorLine(fmt.Sprintf("%q is not a reply to this request", t.line()))
		}
		a.view.question(question)
	}
}

package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// asker answers the questions of an agent: by --yes, by whoever sits at the
// terminal, or by the rule for when nobody does.
type asker struct {
	g       *globals
	view    *view
	cwd     string
	yes     bool
	in      *input // nil until the first permission request
	unasked bool   // something was rejected because nobody could be asked
}

func (a *asker) decide(ctx context.Context, req api.Permission) sandboxagent.Reply {
	switch {
	case a.yes:
		return sandboxagent.Once
	case a.g.env.InTerminal && a.g.env.ErrTerminal && !a.g.json:
		return a.ask(ctx, req)
	case a.harmless(req.ToolCall):
		return sandboxagent.Once
	}
	a.unasked = true
	return sandboxagent.Reject
}

// harmless reports whether a call only reads, or changes files below the
// working folder and says which.
func (a *asker) harmless(call acp.ToolCall) bool {
	switch call.Kind {
	case acp.ToolRead, acp.ToolSearch, acp.ToolThink:
		return true
	case acp.ToolEdit, acp.ToolDelete, acp.ToolMove:
	default:
		return false
	}
	var paths []string
	for _, l := range call.Locations {
		paths = append(paths, l.Path)
	}
	for _, c := range call.Content {
		if c.Path != "" {
			paths = append(paths, c.Path)
		}
	}
	folder, err := resolved(a.cwd)
	if err != nil {
		return false
	}
	below := func(path string) bool {
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.cwd, path)
		}
		real, err := resolved(path)
		if err != nil {
			return false
		}
		rel, err := filepath.Rel(folder, real)
		return err == nil && filepath.IsLocal(rel)
	}
	return len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return !below(p) })
}

// resolved returns a path without links, of which the last parts need not be
// there. A link to nowhere is an error.
func resolved(path string) (string, error) {
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if _, there := os.Lstat(path); there == nil || path == filepath.Dir(path) {
			return "", err
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
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

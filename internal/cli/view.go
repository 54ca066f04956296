package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// view shows a turn: what the agent says on standard output, what it does on
// standard error, or all of it as lines of JSON.
type view struct {
	g     *globals
	shown map[string]acp.ToolCall // by id, as last shown
	where io.Writer               // the stream that was written to last
	open  bool                    // that stream is in the middle of a line
	kind  string                  // of the last message chunk
	after acp.MessageBorder
}

func newView(g *globals) *view {
	return &view{g: g, shown: make(map[string]acp.ToolCall)}
}

// The colours of a terminal.
const (
	dim   = "\x1b[2m"
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	cyan  = "\x1b[36m"
	reset = "\x1b[0m"

	eraseLine = "\x1b[K"
)

// escapes are the sequences by which a text commands a terminal.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])?")

// tame returns a text of an agent without what would command a terminal.
func tame(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, escapes.ReplaceAllString(text, ""))
}

// safe is a text of an agent as it goes to w: without harm to a terminal, and
// unchanged to anything else.
func (v *view) safe(w io.Writer, text string) string {
	if w == v.g.env.Out && !v.g.env.OutTerminal || w == v.g.env.Err && !v.g.env.ErrTerminal {
		return text
	}
	return tame(text)
}

// paint colours text that goes to standard error, if that is a terminal.
func (v *view) paint(colour, text string) string {
	if !v.g.env.ErrTerminal || v.g.env.lookup("NO_COLOR") != "" {
		return text
	}
	return colour + text + reset
}

func (v *view) write(w io.Writer, text string) {
	if text == "" {
		return
	}
	io.WriteString(w, text)
	v.where, v.open = w, !strings.HasSuffix(text, "\n")
}

// line ends an open line before another thing is shown. On a terminal the two
// streams share their lines.
func (v *view) line() {
	if v.open {
		v.write(v.where, "\n")
	}
}

func (v *view) errorLine(text string) {
	v.line()
	v.kind = ""
	v.write(v.g.env.Err, text+"\n")
}

func (v *view) json(value any) {
	data, err := json.Marshal(value)
	if err != nil {
		data, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	v.g.env.Out.Write(append(data, '\n'))
}

// note says something about the run itself.
func (v *view) note(text string) {
	if !v.g.json {
		v.errorLine(v.paint(dim, "· "+text))
	}
}

// openLine leaves its line open for what the user types, which entered ends.
func (v *view) openLine(text string) {
	v.line()
	v.kind = ""
	v.write(v.g.env.Err, v.paint(bold, text))
}

// entered notes that a line was read, whose end a terminal has shown.
func (v *view) entered() { v.open = v.open && !v.g.env.InTerminal }

// discarded says that input answers no permission request, and why.
func (v *view) discarded(why string) {
	v.errorLine(v.paint(dim, "· discarded what was "+why))
}

// session shows in a line which agent works, where, and what becomes of its
// permission requests.
func (v *view) session(s *api.Session, replies string) {
	how := ""
	if s.Restored != nil {
		how = s.Restored.How
	}
	if v.g.json {
		v.json(map[string]string{"sessionUpdate": "session_started", "sessionId": s.ID, "agent": s.Agent, "mode": s.Mode, "cwd": s.CWD, "restored": how})
		return
	}
	text := s.Agent
	if s.Mode != "" {
		text += " (" + s.Mode + " mode)"
	}
	if text += " in " + s.CWD; how != "" {
		text += ", " + how
	}
	v.note(printable(text + "; " + replies))
}

// update shows one step of a turn.
func (v *view) update(u sandboxagent.Update) {
	if v.g.json {
		v.json(u)
		return
	}
	switch u.Kind {
	case acp.UpdateAgentMessage:
		v.chunk(v.g.env.Out, &u.Update, v.safe(v.g.env.Out, u.Content.Text))
	case acp.UpdateAgentThought:
		v.chunk(v.g.env.Err, &u.Update, v.paint(dim, v.safe(v.g.env.Err, u.Content.Text)))
	case acp.UpdatePlan:
		v.after.Begins(u.Kind, "")
		v.plan(u.Plan)
	case acp.UpdateToolCall, acp.UpdateToolCallDelta:
		v.after.Begins(u.Kind, "")
		v.call(u.ToolCall)
	case sandboxagent.UpdatePermission:
		v.call(u.Permission.ToolCall)
	case sandboxagent.UpdateReset:
		reset := u.Event.Reset
		v.errorLine(v.paint(red, fmt.Sprintf("the server has lost the events from %d to %d", reset.Last+1, reset.Cursor)))
	case sandboxagent.UpdateGap:
		v.errorLine(v.paint(red, fmt.Sprintf("events %d to %d are no longer kept", u.Gap.From, u.Gap.To)))
	}
}

// chunk shows the next part of a message. Another message of the same kind stands
// after an empty line.
func (v *view) chunk(w io.Writer, u *acp.Update, text string) {
	if u.Content.Text == "" {
		return
	}
	switch begins := v.after.Begins(u.Kind, u.MessageID); {
	case v.kind != u.Kind:
		v.line()
		v.kind = u.Kind
	case begins:
		v.line()
		v.write(w, "\n")
	}
	v.write(w, text)
}

func (v *view) plan(entries []acp.PlanEntry) {
	marks := map[string]string{"completed": "✓", "in_progress": "▸"}
	for _, e := range entries {
		mark, ok := marks[e.Status]
		if !ok {
			mark = "○"
		}
		v.errorLine(v.paint(cyan, mark) + " " + v.safe(v.g.env.Err, e.Content))
	}
}

// call shows what is new of a tool call.
func (v *view) call(update acp.ToolCall) {
	before, known := v.shown[update.ID]
	now := before
	now.Merge(update)
	v.shown[update.ID] = now
	// Some agents name a call twice, properly only when they know more of it.
	again := now.Title != before.Title && len(before.Content) == 0 && now.Status != acp.StatusCompleted && now.Status != acp.StatusFailed
	if !known || again {
		v.errorLine(v.paint(bold, "→ "+describeCall(now)))
	}
	if len(before.Content) == 0 {
		for _, c := range now.Content {
			v.content(c)
		}
	}
	if now.Status != before.Status {
		switch now.Status {
		case acp.StatusCompleted:
			v.errorLine(v.paint(green, "✓ done"))
		case acp.StatusFailed:
			v.errorLine(v.paint(red, "✗ failed"))
		}
	}
}

func (v *view) content(c acp.ToolContent) {
	switch {
	case c.Type == acp.ToolContentDiff:
		v.diff(c)
	case c.Content != nil && c.Content.Text != "":
		for line := range strings.Lines(strings.TrimRight(v.safe(v.g.env.Err, c.Content.Text), "\n")) {
			v.errorLine("  " + v.paint(dim, strings.TrimRight(line, "\n")))
		}
	}
}

func (v *view) diff(c acp.ToolContent) {
	old := ""
	if c.OldText != nil {
		old = *c.OldText
	}
	name := filepath.Base(c.Path)
	text := diff.Diff(name, []byte(old), name, []byte(c.NewText))
	_, text, _ = bytes.Cut(text, []byte("\n")) // the line "diff a b" says nothing new
	for line := range strings.Lines(strings.TrimRight(v.safe(v.g.env.Err, string(text)), "\n")) {
		line = strings.TrimRight(line, "\n")
		colour := dim
		switch {
		case strings.HasPrefix(line, "+"):
			colour = green
		case strings.HasPrefix(line, "-"):
			colour = red
		}
		v.errorLine("  " + v.paint(colour, line))
	}
}

// end says how the turn ended and how to go on.
func (v *view) end(turn *sandboxagent.Turn, s *api.Session) {
	if v.g.json {
		if turn != nil {
			v.json(sandboxagent.Update{Update: acp.Update{Kind: sandboxagent.UpdateTurnEnd}, Turn: turn})
		}
		return
	}
	v.line()
	words := []string{"cancelled"}
	if turn != nil {
		switch turn.StopReason {
		case acp.StopEndTurn:
			words[0] = "ended"
		case acp.StopCancelled, "":
		default:
			words = []string{"ended", "with " + turn.StopReason}
		}
		if u := turn.Usage; u != nil {
			words = append(words, fmt.Sprintf("after %d tokens", u.TotalTokens))
		}
		if turn.Unsaved {
			v.errorLine(v.paint(red, unsaved))
		}
	}
	if s.Ephemeral {
		v.note(strings.Join(words, " ") + "; the session is in memory alone")
		return
	}
	v.note(strings.Join(words, " ") + "; go on with: " + v.g.command("run", "--resume", s.ID, `"what is next"`))
}

// unsaved says that a turn is not on disk.
const unsaved = "the disk of the server fails: this turn is in its memory alone"

// describeCall names a tool call in a few words, on one line and without what a
// terminal would obey: people decide by it.
func describeCall(call acp.ToolCall) string {
	title := call.Title
	if title == "" {
		title = call.ID
	}
	title = strings.ReplaceAll(tame(strings.TrimSpace(title)), "\n", " ⏎ ")
	if call.Kind == "" || strings.Contains(strings.ToLower(title), call.Kind) {
		return title
	}
	return call.Kind + ": " + title
}

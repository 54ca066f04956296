package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// The roles of a transcript.
const (
	roleUser    = "user"
	roleAgent   = "agent"
	roleThought = "thought"
	roleTool    = "tool"
	rolePlan    = "plan"
	roleSystem  = "system"
)

// Transcript returns what was said in a session, without frames.
func (m *Manager) Transcript(ctx context.Context, id string) (*api.SessionTranscript, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	messages, err := s.messages(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &api.SessionTranscript{ID: s.id, Agent: s.rec.Agent, Title: s.rec.title(), Messages: messages}, nil
}

func (s *session) messages(ctx context.Context) ([]api.SessionMessage, error) {
	name := s.stream()
	_, last, err := s.m.cfg.Journal.Bounds(name)
	if err != nil {
		return nil, err
	}
	sc := script{tools: make(map[string]int), waiting: make(map[string]string), list: []api.SessionMessage{}}
	reader := s.m.cfg.Journal.Reader(name, 0)
	for reader.Cursor() < last {
		batch, err := reader.Next(ctx)
		if err != nil {
			return nil, s.unread(err)
		}
		if g := batch.Gap; g != nil {
			sc.add(api.SessionMessage{Role: roleSystem, Text: fmt.Sprintf("[events %d to %d are no longer kept]", g.From, g.To), Event: g.To})
		}
		for _, e := range batch.Entries {
			sc.take(e)
		}
	}
	sc.flush()
	return sc.list, nil
}

// script makes messages of events.
type script struct {
	list  []api.SessionMessage
	text  strings.Builder // of the newest message, if it is spoken
	after acp.MessageBorder
	tools map[string]int // index of tool calls in list
	plan  int            // index of the plan in list, plus one

	waiting map[string]string // prompts that the agent does not have yet, by turn
	started string            // turn whose prompt is the next one that the agent gets
}

func (sc *script) add(m api.SessionMessage) int {
	sc.flush()
	sc.list = append(sc.list, m)
	return len(sc.list) - 1
}

func (sc *script) flush() {
	if sc.text.Len() > 0 {
		sc.list[len(sc.list)-1].Text = sc.text.String()
		sc.text.Reset()
	}
}

// speak adds to the newest message, or starts one.
func (sc *script) speak(role string, u *acp.Update, e journal.Entry) {
	if u.Content.Text == "" {
		return
	}
	if begins := sc.after.Begins(u.Kind, u.MessageID); begins || sc.text.Len() == 0 || sc.list[len(sc.list)-1].Role != role {
		sc.add(api.SessionMessage{Role: role, At: e.Time, Event: e.Seq, MessageID: u.MessageID})
	}
	sc.text.WriteString(u.Content.Text)
}

// talk are parts of the frames that a transcript is made of; all others are
// passed over without decoding.
var talk = [][]byte{[]byte(acp.MethodSessionUpdate), []byte(acp.MethodSessionPrompt), []byte(`"_session/`), []byte(`"error"`)}

func (sc *script) take(e journal.Entry) {
	relevant := false
	for _, part := range talk {
		relevant = relevant || bytes.Contains(e.Frame, part)
	}
	if !relevant {
		return
	}
	var frame struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
		Error  *acp.RPCError   `json:"error"`
	}
	if json.Unmarshal(e.Frame, &frame) != nil {
		return
	}
	if (frame.Method == acp.MethodSessionPrompt) != (e.Dir == journal.FromClient) {
		return // each side speaks for itself
	}
	switch frame.Method {
	case acp.MethodSessionPrompt:
		sc.prompt(frame.Params, e)
	case acp.MethodSessionUpdate:
		var p acp.SessionNotification
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.update(&p.Update, e)
		}
	case api.EventPromptQueued:
		var p api.SessionPromptQueued
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.waiting[p.Turn] = promptText(p.Prompt)
		}
	case api.EventTurnStarted, api.EventPromptDropped, api.EventTurnEnded:
		var p api.SessionTurnEnded
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.ended(frame.Method, p, e)
		}
	case api.EventPermissionResolved:
		var p api.PermissionResolved
		if json.Unmarshal(frame.Params, &p) == nil {
			text := "Permission: " + p.Reply + " by " + p.By
			if p.Reason != "" {
				text += ", as " + p.Reason
			}
			sc.system(text, e)
		}
	case api.EventSessionNotice:
		var p api.SessionNotice
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.system("Notice: "+p.Text, e)
		}
	case api.EventFrameDropped:
		var p api.FrameDropped
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.system("A frame of the agent was dropped: "+p.Error, e)
		}
	case api.EventPermissionInvalid:
		var p api.PermissionInvalid
		if json.Unmarshal(frame.Params, &p) == nil {
			sc.system("A permission request was refused: "+p.Error, e)
		}
	case "":
		if frame.Error != nil && e.Dir == journal.FromAgent {
			sc.system("Error: "+frame.Error.Error(), e)
		}
	}
}

func (sc *script) system(text string, e journal.Entry) {
	sc.add(api.SessionMessage{Role: roleSystem, Text: text, At: e.Time, Event: e.Seq})
}

// ended takes the end of a wait or of a turn. A prompt that the agent never got
// was said nevertheless.
func (sc *script) ended(method string, p api.SessionTurnEnded, e journal.Entry) {
	if method == api.EventTurnStarted {
		sc.started = p.Turn
		return
	}
	said, waited := sc.waiting[p.Turn]
	delete(sc.waiting, p.Turn)
	switch method {
	case api.EventPromptDropped:
		sc.say(said, e)
		sc.system("The prompt was dropped: "+p.StopReason+p.Error, e)
	default:
		if waited {
			sc.say(said, e)
		}
		sc.system("The turn ended: "+p.StopReason+p.Error, e)
	}
}

func (sc *script) prompt(params json.RawMessage, e journal.Entry) {
	var p acp.PromptRequest
	if json.Unmarshal(params, &p) == nil {
		clear(sc.tools)
		sc.plan = 0
		delete(sc.waiting, sc.started)
		sc.say(promptText(p.Prompt), e)
	}
}

func (sc *script) say(text string, e journal.Entry) {
	sc.add(api.SessionMessage{Role: roleUser, Text: text, At: e.Time, Event: e.Seq})
}

// promptText writes a prompt as the words of its user.
func promptText(prompt acp.Prompt) string {
	var parts []string
	for _, b := range prompt {
		switch {
		case isPrimer(b):
		case b.Type == acp.ContentText:
			parts = append(parts, b.Text)
		case b.URI != "":
			parts = append(parts, "["+b.Type+" "+b.URI+"]")
		default:
			parts = append(parts, "["+b.Type+"]")
		}
	}
	return strings.Join(parts, "\n")
}

// isPrimer reports whether a block is what the server told the agent of the
// session itself.
func isPrimer(b acp.ContentBlock) bool {
	return bytes.Contains(b.Meta, []byte(`"`+api.MetaPrimer+`"`))
}

func (sc *script) update(u *acp.Update, e journal.Entry) {
	switch u.Kind {
	case acp.UpdateAgentMessage:
		sc.speak(roleAgent, u, e)
	case acp.UpdateAgentThought:
		sc.speak(roleThought, u, e)
	case acp.UpdatePlan:
		sc.after.Begins(u.Kind, "")
		lines := make([]string, 0, len(u.Plan))
		for _, p := range u.Plan {
			lines = append(lines, fmt.Sprintf("[%s] %s", p.Status, p.Content))
		}
		text := strings.Join(lines, "\n")
		if sc.plan > 0 {
			sc.list[sc.plan-1].Text = text
			return
		}
		sc.plan = 1 + sc.add(api.SessionMessage{Role: rolePlan, Text: text, At: e.Time, Event: e.Seq})
	case acp.UpdateToolCall, acp.UpdateToolCallDelta:
		sc.after.Begins(u.Kind, "")
		i, found := sc.tools[u.ToolCall.ID]
		if !found {
			i = sc.add(api.SessionMessage{Role: roleTool, At: e.Time, Event: e.Seq, Tool: u.ToolCall.ID})
			sc.tools[u.ToolCall.ID] = i
		}
		m := &sc.list[i]
		if u.ToolCall.Title != "" {
			m.Text = u.ToolCall.Title
		}
		if u.ToolCall.Status != "" {
			m.State = u.ToolCall.Status
		}
	}
}

// Text writes a transcript for people.
func Text(t *api.SessionTranscript) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Session %s transcript\n", t.ID)
	if len(t.Messages) == 0 {
		b.WriteString("\n(no events recorded)\n")
	}
	for _, m := range t.Messages {
		fmt.Fprintf(&b, "\n[%s] %s: %s\n", time.UnixMilli(m.At).UTC().Format(time.DateTime), m.Role, line(m))
	}
	return b.String()
}

func line(m api.SessionMessage) string {
	if m.Role == roleTool && m.State != "" {
		return m.Text + " (" + m.State + ")"
	}
	return m.Text
}

// Markdown writes a transcript as a document.
func Markdown(t *api.SessionTranscript) string {
	var b strings.Builder
	title := t.Title
	if title == "" {
		title = "Session " + t.ID
	}
	fmt.Fprintf(&b, "# %s\n\nAgent %s, session `%s`\n", strings.ReplaceAll(title, "\n", " "), t.Agent, t.ID)
	for _, m := range t.Messages {
		switch m.Role {
		case roleUser:
			fmt.Fprintf(&b, "\n## User\n\n%s\n", m.Text)
		case roleAgent:
			fmt.Fprintf(&b, "\n## Agent\n\n%s\n", m.Text)
		case roleThought:
			fmt.Fprintf(&b, "\n> %s\n", strings.ReplaceAll(m.Text, "\n", "\n> "))
		case rolePlan:
			b.WriteString("\n")
			for step := range strings.SplitSeq(m.Text, "\n") {
				b.WriteString("- " + step + "\n")
			}
		default:
			fmt.Fprintf(&b, "\n*%s: %s*\n", m.Role, line(m))
		}
	}
	return b.String()
}

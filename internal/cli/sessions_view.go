package cli

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// sessionView shows the events of a session.
type sessionView struct {
	*view
	own     []string          // prompts that were typed here, and so are on the screen
	calls   map[string]bool   // ids of prompts that are worked on
	waiting map[string]string // prompts that are not, by turn
	stopped string            // why the agent was stopped, as it was shown last
}

// said notes a prompt that was typed on the terminal.
func (v *sessionView) said(text string) {
	if v.g.env.InTerminal {
		v.own = append(v.own, text)
	}
}

func (v *sessionView) running() bool { return len(v.calls) > 0 }

// step shows one step of a turn of our own.
func (v *sessionView) step(u sandboxagent.Update) {
	switch {
	case u.Kind == sandboxagent.UpdateEvent && v.g.json:
	case u.Kind == sandboxagent.UpdateEvent:
		v.notice(u.Event)
	case u.Resolved == nil || v.g.json:
		v.update(u)
	case u.Resolved.By == v.g.clientName() || u.Resolved.By == api.ByPolicy && u.Resolved.Reply == api.ReplyOnce:
		// The user knows, or what follows shows it.
	default:
		v.notice(u.Event)
	}
}

func (v *sessionView) event(e sandboxagent.SessionEvent) {
	answered := v.track(e)
	if v.g.json && e.Gap == nil && e.Reset == nil {
		v.json(e.SessionEvent)
		return
	}
	if u, ok := e.Update(); ok {
		v.update(u)
		return
	}
	if said, ok := e.Prompt(); ok {
		v.prompt(said.Text())
		return
	}
	switch e.Method() {
	case acp.MethodRequestPermission:
		var p acp.PermissionRequest
		if e.Params(&p) == nil {
			v.call(p.ToolCall)
		}
	case "":
		if answered {
			v.answer(e)
		}
	default:
		v.notice(e)
	}
}

// track notes which prompts are worked on. It reports whether the event is the
// answer to one.
func (v *sessionView) track(e sandboxagent.SessionEvent) (answered bool) {
	method := e.Method()
	switch method {
	case api.EventSessionStopped, api.EventTurnEnded:
		clear(v.calls)
		return false
	case api.EventPromptResent:
		var p api.SessionPromptResent
		if e.Params(&p) == nil {
			v.works(string(p.Request))
		}
		return false
	case acp.MethodSessionPrompt, "":
	default:
		return false
	}
	var frame struct {
		ID json.RawMessage `json:"id"`
	}
	if len(e.Payload) == 0 || json.Unmarshal(e.Payload, &frame) != nil {
		return false
	}
	id := string(frame.ID)
	if method == "" {
		if answered = e.Sender == "agent" && v.calls[id]; answered {
			delete(v.calls, id)
		}
		return answered
	}
	v.works(id)
	return false
}

// works notes that a prompt is worked on.
func (v *sessionView) works(id string) {
	if v.calls == nil {
		v.calls = make(map[string]bool)
	}
	v.calls[id] = true
}

func (v *sessionView) prompt(text string) {
	if v.forget(text) {
		return
	}
	v.line()
	v.errorLine(v.paint(bold, "> "+v.safe(v.g.env.Err, text)))
}

// forget takes one of our own prompts off the list, if it is one.
func (v *sessionView) forget(text string) bool {
	i := slices.Index(v.own, text)
	if i >= 0 {
		v.own = slices.Delete(v.own, i, i+1)
	}
	return i >= 0
}

// queued shows that a prompt of another client waits for the turn under way.
func (v *sessionView) queued(e sandboxagent.SessionEvent) {
	var p api.SessionPromptQueued
	if e.Params(&p) != nil {
		return
	}
	if v.waiting == nil {
		v.waiting = make(map[string]string)
	}
	v.waiting[p.Turn] = p.Prompt.Text()
	if v.running() && !slices.Contains(v.own, p.Prompt.Text()) {
		v.note("next: " + short(p.Prompt.Text()))
	}
}

// answer shows the answer to a prompt.
func (v *sessionView) answer(e sandboxagent.SessionEvent) {
	var frame struct {
		Result acp.PromptResult `json:"result"`
		Error  *acp.RPCError    `json:"error"`
	}
	if json.Unmarshal(e.Payload, &frame) != nil {
		return
	}
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
			v.note(decided(p))
		}
	case api.EventPermissionRulesForgotten:
		var p api.PermissionRulesForgotten
		if e.Params(&p) == nil {
			for _, r := range p.Rules {
				v.note("no longer remembered: " + printable(permission.Words(r)))
			}
		}
	case api.EventPermissionInvalid:
		var p api.PermissionInvalid
		if e.Params(&p) == nil {
			v.note("a permission request of the agent was refused: " + printable(p.Error))
		}
	case api.EventSessionRestored:
		var r api.SessionRestored
		if e.Params(&r) == nil {
			v.note("the agent is back: " + r.How)
		}
	case api.EventSessionStopped:
		var p struct{ Reason string }
		if e.Params(&p) == nil {
			v.note("the agent was stopped: " + p.Reason)
			v.stopped = p.Reason
		}
	case api.EventPromptQueued:
		v.queued(e)
	case api.EventPromptDropped:
		var p api.SessionTurnEnded
		if e.Params(&p) == nil {
			v.note("dropped: " + short(v.waiting[p.Turn]))
			if p.Error != "" {
				v.errorLine(v.paint(red, p.Error))
			}
			v.forget(v.waiting[p.Turn])
		}
	case api.EventTurnEnded:
		var p api.SessionTurnEnded
		switch {
		case e.Params(&p) != nil || p.Error == "":
			v.ended(p.StopReason, nil)
		case p.Error != v.stopped:
			v.errorLine(v.paint(red, p.Error))
		}
	case api.EventSessionDestroyed:
		v.note("the session was destroyed")
	}
}

// decided says which reply a permission request got.
func decided(p api.PermissionResolved) string {
	answer := map[string]string{
		api.ReplyOnce: "allowed once", api.ReplyAlways: "allowed from now on", api.ReplyReject: "rejected", api.ReplyCancel: "left open",
	}[p.Reply]
	if answer == "" {
		answer = "answered with " + printable(p.OptionID)
	}
	switch p.By {
	case api.ByCancel, api.ByAgent:
		return "no longer asked"
	case api.ByExpiry:
		return "not answered in time"
	case api.ByPolicy:
		if p.Reason != "" {
			return "rejected by the rules of the session; " + printable(p.Reason)
		}
		return answer + " by the rules of the session"
	}
	return answer + " by " + printable(p.By)
}

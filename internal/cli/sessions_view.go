package cli

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

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

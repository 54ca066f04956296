package acp_test

import (
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
)

func TestMessageBorder(t *testing.T) {
	const say, think, call, change, plan, usage = acp.UpdateAgentMessage, acp.UpdateAgentThought, acp.UpdateToolCall, acp.UpdateToolCallDelta, acp.UpdatePlan, acp.UpdateUsage
	type update struct {
		kind, id string
		begins   bool
	}
	for name, updates := range map[string][]update{
		"no ids":                 {{say, "", true}, {say, "", false}, {say, "", false}},
		"one id":                 {{say, "a", true}, {say, "a", false}},
		"two ids":                {{say, "a", true}, {say, "b", true}, {say, "b", false}, {say, "a", true}},
		"id on the first alone":  {{say, "a", true}, {say, "", false}, {say, "a", false}, {say, "b", true}},
		"id on a later one":      {{say, "", true}, {say, "a", false}, {say, "b", true}},
		"thought between":        {{say, "", true}, {think, "", true}, {say, "", true}},
		"same id, thought":       {{think, "a", true}, {say, "a", true}, {say, "a", false}},
		"tool between":           {{say, "", true}, {call, "", false}, {say, "", true}},
		"plan between":           {{say, "a", true}, {plan, "", false}, {say, "a", true}},
		"change of a tool":       {{say, "", true}, {change, "", false}, {say, "", false}},
		"usage, unknown updates": {{say, "", true}, {usage, "", false}, {"novel", "", false}, {say, "", false}},
	} {
		var border acp.MessageBorder
		for i, u := range updates {
			if got := border.Begins(u.kind, u.id); got != u.begins {
				t.Errorf("%s: update %d begins a message: %v", name, i, got)
			}
		}
	}
}

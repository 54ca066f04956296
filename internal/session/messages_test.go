package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// TestMessagesOfATurnStandApart has an agent say several things in a turn.
func TestMessagesOfATurnStandApart(t *testing.T) {
	r := start(t, "", api.Limits{})
	update := func(members string) string {
		return `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"SESSION","update":{` + members + `}}}`
	}
	chunk := func(kind, id, text string) string {
		if id != "" {
			id = fmt.Sprintf(`,"messageId":%q`, id)
		}
		return update(fmt.Sprintf(`"sessionUpdate":%q,"content":{"type":"text","text":%q}%s`, kind, text, id))
	}
	say := func(id, text string) string { return chunk("agent_message_chunk", id, text) }
	think := func(id, text string) string { return chunk("agent_thought_chunk", id, text) }
	tool := update(`"sessionUpdate":"tool_call","toolCallId":"c","title":"look"`)
	toolDone := update(`"sessionUpdate":"tool_call_update","toolCallId":"c","status":"completed"`)
	plan := update(`"sessionUpdate":"plan","entries":[{"content":"do","priority":"low","status":"pending"}]`)
	usage := update(`"sessionUpdate":"usage_update","used":1,"size":2`)
	for name, tt := range map[string]struct {
		updates []string
		want    []string // messages of the agent
	}{
		"ids":           {[]string{say("a", "one "), say("a", "still"), say("b", "two")}, []string{"one still", "two"}},
		"no ids":        {[]string{say("", "one "), say("", "still one")}, []string{"one still one"}},
		"thought":       {[]string{say("", "one"), think("", "hm"), say("", "two")}, []string{"one", "two"}},
		"tool":          {[]string{say("", "one"), tool, toolDone, say("", "two")}, []string{"one", "two"}},
		"plan":          {[]string{say("a", "one"), plan, say("a", "two"), plan, say("a", "three")}, []string{"one", "two", "three"}},
		"usage":         {[]string{say("", "one "), usage, say("", "still one")}, []string{"one still one"}},
		"end of a tool": {[]string{tool, say("", "one "), toolDone, say("", "still one")}, []string{"one still one"}},
		"blanks":        {[]string{strings.ReplaceAll(say("a", "one"), `":`, `" : `), strings.ReplaceAll(think("", "hm"), `":`, `" : `), say("a", "two")}, []string{"one", "two"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.create(`{"agent":"scripted"}`)
			turn := r.prompt(s.ID, strings.Join(tt.updates, "\n"))
			if want := strings.Join(tt.want, "\n\n"); turn.Text != want {
				t.Errorf("the text of the turn is %q, want %q", turn.Text, want)
			}
			var transcript api.SessionTranscript
			r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &transcript)
			var said []string
			for _, m := range transcript.Messages {
				if m.Role == "agent" {
					said = append(said, m.Text)
				}
			}
			if !slices.Equal(said, tt.want) {
				t.Errorf("the transcript has %q, want %q", said, tt.want)
			}
		})
	}
}

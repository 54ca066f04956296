package session_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

const someOptions = `[{"optionId":"y","name":"Yes","kind":"allow_once"},{"optionId":"n","name":"No","kind":"reject_once"}]`

// TestPermissionRequestThatCannotBeReadIsRefused looks that the agent gets an
// error, that the turn ends, and that the session says what happened.
func TestPermissionRequestThatCannotBeReadIsRefused(t *testing.T) {
	request := func(params string) string {
		return `{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":` + params + `}`
	}
	r := start(t, "", api.Limits{})
	other := r.create(`{"agent":"scripted","permissions":{"default":"allow"}}`)
	for name, tt := range map[string]struct {
		line  string
		note  string
		quiet bool // has no id, so that there is nothing to answer
	}{
		"no params":            {line: `{"jsonrpc":"2.0","id":5,"method":"session/request_permission"}`, note: "params"},
		"params are an array":  {line: request(`["SESSION"]`), note: "params"},
		"params are a string":  {line: request(`"SESSION"`), note: "params"},
		"no session":           {line: request(`{"toolCall":{"toolCallId":"c"},"options":` + someOptions + `}`), note: "sessionId"},
		"session is a number":  {line: request(`{"sessionId":7,"toolCall":{"toolCallId":"c"},"options":` + someOptions + `}`), note: "sessionId"},
		"unknown session":      {line: request(`{"sessionId":"nobody","toolCall":{"toolCallId":"c"},"options":` + someOptions + `}`), note: "nobody"},
		"session of another":   {line: request(`{"sessionId":"` + other.ID + `","toolCall":{"toolCallId":"c"},"options":` + someOptions + `}`), note: other.ID},
		"no tool call":         {line: request(`{"sessionId":"SESSION","options":` + someOptions + `}`), note: "toolCall"},
		"tool call is null":    {line: request(`{"sessionId":"SESSION","toolCall":null,"options":` + someOptions + `}`), note: "toolCall"},
		"tool call is a list":  {line: request(`{"sessionId":"SESSION","toolCall":[],"options":` + someOptions + `}`), note: "toolCall"},
		"tool call without id": {line: request(`{"sessionId":"SESSION","toolCall":{"title":"x"},"options":` + someOptions + `}`), note: "toolCallId"},
		"id is a number":       {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":1},"options":` + someOptions + `}`), note: "toolCallId"},
		"kind is a list":       {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c","kind":["edit"]},"options":` + someOptions + `}`), note: "kind"},
		"locations are text":   {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c","locations":"/x"},"options":` + someOptions + `}`), note: "locations"},
		"no options":           {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c"}}`), note: "options"},
		"options are null":     {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":null}`), note: "options"},
		"options are text":     {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":["y","n"]}`), note: "options"},
		"an option is null":    {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":[null]}`), note: "options"},
		"option id is true":    {line: request(`{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":[{"optionId":true}]}`), note: "optionId"},
		"a notification":       {line: `{"jsonrpc":"2.0","method":"session/request_permission","params":{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":` + someOptions + `}}`, note: "no id", quiet: true},
		"a bad notification":   {line: `{"jsonrpc":"2.0","method":"session/request_permission","params":[]}`, note: "params", quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := r
			s := r.create(`{"agent":"scripted","permissions":{"default":"allow"}}`)
			turn := r.prompt(s.ID, tt.line)
			switch {
			case turn.StopReason != acp.StopEndTurn:
				t.Errorf("the turn ended with %s", turn.StopReason)
			case !tt.quiet && !strings.Contains(turn.Text, `-32602`):
				t.Errorf("the agent was told %s", turn.Text)
			}
			if got := r.get(s.ID); got.PendingPermissions != 0 {
				t.Errorf("%d permission requests wait", got.PendingPermissions)
			}
			var notes []string
			for _, e := range r.events(s.ID) {
				var frame struct {
					Method string
					Params api.PermissionInvalid
				}
				if json.Unmarshal(e.Payload, &frame) == nil && frame.Method == api.EventPermissionInvalid {
					notes = append(notes, frame.Params.Error)
				}
			}
			if len(notes) != 1 || !strings.Contains(notes[0], tt.note) {
				t.Errorf("the session has the notes %q, want one that tells of %s", notes, tt.note)
			}
			var told api.SessionTranscript
			r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &told)
			if last := told.Messages[1]; !strings.Contains(last.Text, "was refused") {
				t.Errorf("the transcript has %q", last.Text)
			}
		})
	}
	if n := count(r.events(other.ID), "permission"); n != 0 {
		t.Errorf("the session that was named by the agent of another one has %d events of it", n)
	}
}

// TestPermissionWithoutTheOptionItNeeds has agents offer less than a policy or a
// client would choose.
func TestPermissionWithoutTheOptionItNeeds(t *testing.T) {
	const (
		yes = `{"optionId":"y","name":"Yes","kind":"allow_once"}`
		no  = `{"optionId":"n","name":"No","kind":"reject_once"}`
	)
	r := start(t, "", api.Limits{})
	line := func(options string) string {
		return `{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"sessionId":"SESSION","toolCall":{"toolCallId":"c","kind":"edit","locations":[{"path":"a"}]},"options":[` + options + `]}}`
	}
	for name, tt := range map[string]struct {
		policy, options string
		told            string // the agent, at once; empty when a person is asked
		replies         string // that the person has
	}{
		"reject, nothing to reject with":    {policy: "reject", options: yes, told: `"cancelled"`},
		"reject, no options at all":         {policy: "reject", told: `"cancelled"`},
		"reject, kinds that are unknown":    {policy: "reject", options: `{"optionId":"n","name":"No","kind":"deny"}`, told: `"cancelled"`},
		"reject, without an id":             {policy: "reject", options: `{"optionId":"","name":"No","kind":"reject_once"}`, told: `"cancelled"`},
		"reject, an id that allows too":     {policy: "reject", options: `{"optionId":"x","name":"No","kind":"reject_once"},{"optionId":"x","name":"Yes","kind":"allow_once"}`, told: `"cancelled"`},
		"reject, for ever":                  {policy: "reject", options: yes + `,{"optionId":"never","name":"Never","kind":"reject_always"}`, told: `"never"`},
		"reject, the same option twice":     {policy: "reject", options: no + "," + no, told: `"n"`},
		"allow, nothing to allow with":      {policy: "allow", options: no, replies: "reject cancel"},
		"allow, no options at all":          {policy: "allow", replies: "cancel"},
		"allow, an id that rejects too":     {policy: "allow", options: `{"optionId":"x","name":"No","kind":"reject_once"},{"optionId":"x","name":"Yes","kind":"allow_once"}`, replies: "cancel"},
		"allow, an id without a known kind": {policy: "allow", options: `{"optionId":"y","name":"Yes","kind":"allow"}`, replies: "cancel"},
		"ask, all of them":                  {policy: "ask", options: yes + "," + no, replies: "once always reject cancel"},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.create(`{"agent":"scripted","permissions":{"default":"` + tt.policy + `"}}`)
			if tt.told == "" {
				r.promptAsync(s.ID, line(tt.options), "")
				p := r.awaitPermission(s.ID)
				if got := strings.Join(p.AvailableReplies, " "); got != tt.replies {
					t.Errorf("it takes %s, want %s", got, tt.replies)
				}
				r.do("POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, `{"reply":"cancel"}`, nil)
				return
			}
			if turn := r.prompt(s.ID, line(tt.options)); !strings.Contains(turn.Text, tt.told) {
				t.Errorf("the agent was told %s, want %s", turn.Text, tt.told)
			}
			said := count(r.events(s.ID), `"reply":"cancel"`) == 1 && count(r.events(s.ID), `"reason":"the agent offers no option to reject`) == 1
			if cancelled := tt.told == `"cancelled"`; cancelled != said {
				t.Errorf("cancelled is %v, and the session says so %v", cancelled, said)
			}
		})
	}
}

// TestReplyNeverMeansAnOptionOfItsName has options whose ids are the words for
// other replies.
func TestReplyNeverMeansAnOptionOfItsName(t *testing.T) {
	r := start(t, "", api.Limits{})
	line := `{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":[` +
		`{"optionId":"reject","name":"Yes","kind":"allow_once"},{"optionId":"cancel","name":"Yes","kind":"allow_always"}]}}`
	for _, tt := range []struct{ body, told string }{
		{`{"reply":"cancel"}`, `"outcome":"cancelled"`},
		{`{"optionId":"cancel"}`, `"selected","optionId":"cancel"`},
		{`{"reply":"once"}`, `"selected","optionId":"reject"`},
	} {
		s := r.create(`{"agent":"scripted"}`)
		r.promptAsync(s.ID, line, "")
		p := r.awaitPermission(s.ID)
		var problem *api.Error
		err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, `{"reply":"reject"}`, nil)
		if problem, _ = err.(*api.Error); problem == nil || problem.Code != api.CodeReplyNotAvailable {
			t.Fatalf("the reply reject gives %v, though the agent offers none", err)
		}
		r.do("POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, tt.body, nil)
		r.awaitStatus(s.ID, api.SessionIdle)
		if count(r.events(s.ID), strings.ReplaceAll(tt.told, `"`, `\"`)) != 1 {
			t.Errorf("%s is not what the agent was told after %s", tt.told, tt.body)
		}
	}
}

// TestPermissionIsJudgedByWhatWasShownBefore has an agent name a file only in a
// diff that it shows before it asks, and takes back.
func TestPermissionIsJudgedByWhatWasShownBefore(t *testing.T) {
	r := start(t, "", api.Limits{})
	update := func(members string) string {
		return `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"SESSION","update":{"sessionUpdate":"tool_call_update","toolCallId":"c"` + members + `}}}`
	}
	s := r.create(`{"agent":"scripted","permissions":{"default":"allow","rules":[{"path":"**/secret.txt","decision":"reject"}]}}`)
	turn := r.prompt(s.ID, strings.Join([]string{
		update(`,"kind":"edit","content":[{"type":"diff","path":"secret.txt","newText":"x"}]`),
		update(`,"content":[{"type":"content","content":{"type":"text","text":"nothing to see"}}]`),
		`{"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"sessionId":"SESSION","toolCall":{"toolCallId":"c"},"options":` + someOptions + `}}`,
	}, "\n"))
	if !strings.Contains(turn.Text, `"optionId":"n"`) {
		t.Errorf("the agent was told %s, want a rejection", turn.Text)
	}
}

// TestRulesOfAPolicyHaveNoAuthor has a client claim that somebody else made a rule.
func TestRulesOfAPolicyHaveNoAuthor(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"plain","permissions":{"rules":[{"kind":"read","decision":"allow","by":"policy","createdAt":5}]}}`)
	var rules api.PermissionRules
	r.do("GET", "/v1/sessions/"+s.ID+"/permissions/rules", "", &rules)
	if len(rules.Rules) != 1 || rules.Rules[0].By != "" || rules.Rules[0].CreatedAt != 0 {
		t.Errorf("the rules are %+v", rules.Rules)
	}
}

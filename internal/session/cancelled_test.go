package session_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// TestCancelledTurnSaysSo cancels turns of agents that answer a cancelled prompt in
// one way or another.
func TestCancelledTurnSaysSo(t *testing.T) {
	r := start(t, "", api.Limits{})
	for name, answer := range map[string]string{
		"end of turn":  `"result":{"stopReason":"end_turn"}`,
		"limit":        `"result":{"stopReason":"max_tokens"}`,
		"refusal":      `"result":{"stopReason":"refusal"}`,
		"none":         `"result":{}`,
		"null":         `"result":null`,
		"error":        `"error":{"code":-32603,"message":"aborted"}`,
		"as it should": `"result":{"stopReason":"cancelled","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := r.create(`{"agent":"scripted"}`)
			type end struct {
				turn api.SessionTurn
				err  error
			}
			ended := make(chan end)
			go func() {
				var e end
				e.err = r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody("WHEN CANCELLED "+answer, ""), &e.turn)
				ended <- e
			}()
			r.awaitPrompt(s.ID, "WHEN CANCELLED")
			var result api.SessionCancelResult
			r.do("POST", "/v1/sessions/"+s.ID+"/cancel", "", &result)
			e := <-ended
			if e.err != nil || e.turn.StopReason != acp.StopCancelled || result.Forced {
				t.Errorf("the turn ended with %q, %v; forced %v", e.turn.StopReason, e.err, result.Forced)
			}
			own := strings.Contains(answer, `"cancelled"`)
			if told := count(r.events(s.ID), `"stopReason":"cancelled"`) > 0; !told {
				t.Error("no event says that the turn was cancelled")
			}
			if n := count(r.events(s.ID), api.EventTurnEnded); own == (n == 1) {
				t.Errorf("%d events of the server tell of the end", n)
			}
			if last := r.get(s.ID).LastEvent; e.turn.LastEvent != last {
				t.Errorf("the last event of the turn is %d, of the session %d", e.turn.LastEvent, last)
			}
			if again := r.prompt(s.ID, "hello"); again.StopReason != acp.StopEndTurn {
				t.Errorf("the next turn ended with %s", again.StopReason)
			}
		})
	}
}

// TestReasonOfAnAgentsErrorIsShown has an agent fail with the reason in the data of
// its error alone.
func TestReasonOfAnAgentsErrorIsShown(t *testing.T) {
	r := start(t, "", api.Limits{})
	for _, data := range []string{`{"details":"the key is invalid"}`, `"the key is invalid"`, `{"error":{"message":"the key is invalid"}}`} {
		s := r.create(`{"agent":"scripted"}`)
		err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody(`FAIL {"code":-32603,"message":"Internal error","data":`+data+`}`, ""), nil)
		if err == nil || !strings.Contains(err.Error(), "the key is invalid") {
			t.Errorf("data %s: the prompt fails with %v", data, err)
		}
		if reason := r.get(s.ID).Reason; !strings.Contains(reason, "the key is invalid") {
			t.Errorf("data %s: the session says %s", data, reason)
		}
		var told api.SessionTranscript
		r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &told)
		if last := told.Messages[len(told.Messages)-1]; !strings.Contains(last.Text, "the key is invalid") {
			t.Errorf("data %s: the transcript ends with %s", data, last.Text)
		}
	}
}

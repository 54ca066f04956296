package session_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// TestFrameOverTheLimitLeavesNobodyWaiting has an agent write frames that are too
// long, with what tells them apart at their end. The turn ends, and the session says
// what is lost.
func TestFrameOverTheLimitLeavesNobodyWaiting(t *testing.T) {
	r := start(t, "", api.Limits{MaxFrameBytes: 64 << 10})
	long := strings.Repeat("x", 200<<10)
	for name, tt := range map[string]struct{ line, told string }{
		"permission request": {`{"jsonrpc":"2.0","method":"session/request_permission","params":{"toolCall":{"toolCallId":"c","title":"` + long + `"},"options":[],"sessionId":"SESSION"},"id":5}`, "-32600"},
		"other request":      {`{"jsonrpc":"2.0","id":"y","method":"fs/read_text_file","params":{"sessionId":"SESSION","path":"` + long + `"}}`, "-32600"},
		"update":             {`{"jsonrpc":"2.0","method":"session/update","params":{"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"` + long + `"}},"sessionId":"SESSION"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.create(`{"agent":"scripted"}`)
			turn := r.prompt(s.ID, tt.line)
			if turn.StopReason != acp.StopEndTurn || !strings.Contains(turn.Text, tt.told) {
				t.Errorf("the turn ended with %s and %.200s", turn.StopReason, turn.Text)
			}
			if n := count(r.events(s.ID), `"method":"_session/frame_dropped"`); n != 1 {
				t.Errorf("%d events tell of the frame", n)
			}
		})
	}
	t.Run("answer to the prompt", func(t *testing.T) {
		s := r.create(`{"agent":"scripted"}`)
		err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody(`FAIL {"code":1,"message":"`+long+`"}`, ""), nil)
		if err == nil || !strings.Contains(err.Error(), "maxFrameBytes (65536)") {
			t.Errorf("the prompt fails with %v", err)
		}
		r.awaitStatus(s.ID, api.SessionIdle)
		if turn := r.prompt(s.ID, "hello"); turn.StopReason != acp.StopEndTurn {
			t.Errorf("the next turn ended with %s", turn.StopReason)
		}
	})
}

package bridge

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
)

// TestOutlineFindsWhatParseFinds reads frames of any size in pieces of any size.
func TestOutlineFindsWhatParseFinds(t *testing.T) {
	long := `"` + strings.Repeat(`x\"y{[,:`, 500) + `"`
	for _, frame := range []string{
		`{"jsonrpc":"2.0","id":7,"method":"session/request_permission","params":{"sessionId":"s","toolCall":` + long + `}}`,
		`{"jsonrpc":"2.0","method":"session/request_permission","params":{"toolCall":{"sessionId":"decoy","a":[` + long + `]},"sessionId":"s"},"id":"last"}`,
		`{"result":{"text":` + long + `,"id":3,"method":"decoy"},"jsonrpc":"2.0","id":12}`,
		`{"error":{"code":1,"message":` + long + `},"id":null}`,
		`{"method":"session/update","params":{"update":{"content":{"text":` + long + `}},"sessionId":"é\n"}}`,
		` { "m\u0065thod" : "a" , "params" : [ {"sessionId":"no"} , ` + long + ` ] , "id" : 1.5e3 } `,
		`{"id":{"a":1},"method":"x"}`, `[{"id":1,"method":"x"}]`, `{}`, `{"id":4}`, long,
	} {
		want, err := acp.Parse([]byte(frame))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(want.ID), "{") {
			want.ID, want.Kind = nil, acp.Notification // an id that no program uses
		}
		for _, size := range []int{1, 7, 4096} {
			var o outline
			for rest := frame; rest != ""; rest = rest[min(size, len(rest)):] {
				o.Write([]byte(rest[:min(size, len(rest))]))
			}
			got := o.message()
			if got.Method != want.Method || string(got.ID) != string(want.ID) || got.Kind != want.Kind || want.Kind != acp.Response && got.SessionID != want.SessionID {
				t.Errorf("pieces of %d of %.80s:\n got %+v\nwant %+v", size, frame, got, want)
			}
		}
	}
	for _, broken := range []string{"}}}}", "]{", `{"id":`, `{"id":tru,"result":1}`, strings.Repeat("[", 10000), `{"id":` + long + `,"method":"x"}`} {
		var o outline
		o.Write([]byte(broken)) // it must not fail
		if m := o.message(); m.Kind == acp.Request || m.Kind == acp.Response {
			t.Errorf("%.40s is taken for a %v", broken, m.Kind)
		}
	}
}

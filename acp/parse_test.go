package acp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       Message
	}{
		{"request", `{"jsonrpc":"2.0","id":7,"method":"session/prompt","params":{"sessionId":"s1","prompt":[]}}`,
			Message{ID: json.RawMessage("7"), Method: "session/prompt", SessionID: "s1", Kind: Request}},
		{"id null is present", `{"id":null,"method":"x"}`, Message{ID: json.RawMessage("null"), Method: "x", Kind: Request}},
		{"big id", `{"id":12345678901234567890123,"method":"x"}`, Message{ID: json.RawMessage("12345678901234567890123"), Method: "x", Kind: Request}},
		{"float id", `{"id": 1.50e+2 ,"result":{}}`, Message{ID: json.RawMessage("1.50e+2"), Kind: Response}},
		{"string id", `{"id":"\u0061","result":null}`, Message{ID: json.RawMessage(`"\u0061"`), Kind: Response}},
		{"object id", `{"id":{"id":1},"method":"x"}`, Message{ID: json.RawMessage(`{"id":1}`), Method: "x", Kind: Request}},
		{"notification", `{"method":"session/update","params":{"update":{"sessionId":"decoy"},"sessionId":"real"}}`,
			Message{Method: "session/update", SessionID: "real", Kind: Notification}},
		{"decoys", `{"params":{"id":3,"method":"no","a":[{"sessionId":"no"}]},"id":4,"result":{"sessionId":"r"}}`,
			Message{ID: json.RawMessage("4"), SessionID: "r", Kind: Response}},
		{"error", `{"id":1,"error":{"code":-32601,"message":"id"}}`, Message{ID: json.RawMessage("1"), Kind: Response, IsError: true}},
		{"error null", `{"id":1,"error":null,"result":1}`, Message{ID: json.RawMessage("1"), Kind: Response}},
		{"escaped keys", `{"\u0069d":1,"m\u0065thod":"a\u002fb","params":{"session\u0049d":"é\n"}}`,
			Message{ID: json.RawMessage("1"), Method: "a/b", SessionID: "é\n", Kind: Request}},
		{"keys are exact", `{"ID":1,"Method":"x","Params":{"sessionId":"s"}}`, Message{Kind: Other}},
		{"last key counts", `{"id":1,"id":2,"method":"a","params":{"sessionId":"a"},"params":{}}`,
			Message{ID: json.RawMessage("2"), Method: "a", Kind: Request}},
		{"session not a string", `{"method":"x","params":{"sessionId":5}}`, Message{Method: "x", Kind: Notification}},
		{"params win", `{"method":"x","result":{"sessionId":"r"},"params":{"sessionId":"p"}}`, Message{Method: "x", SessionID: "p", Kind: Notification}},
		{"method not a string", `{"id":1,"method":5}`, Message{ID: json.RawMessage("1"), Kind: Other}},
		{"id alone", `{"id":1}`, Message{ID: json.RawMessage("1"), Kind: Other}},
		{"empty object", ` { } `, Message{Kind: Other}},
		{"number", `42`, Message{Kind: Other}},
		{"array", `[1,{"id":1,"method":"x"}]`, Message{Kind: Other}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.line))
			if err != nil {
				t.Fatal(err)
			}
			if !sameMessage(got, tt.want) {
				t.Errorf("Parse(%s)\n got %+v\nwant %+v", tt.line, got, tt.want)
			}
		})
	}
}

func TestParseFindsReservedMethodsHoweverSpelt(t *testing.T) {
	for line, want := range map[string]bool{
		`{"method":"_session/stopped"}`:                                      true,
		`{"id":1,"method":"_adapter/agent_exited"}`:                          true,
		`{"method":"_server/permission_asked","params":{}}`:                  true,
		`{"method":"_session/"}`:                                             true,
		`{"m\u0065thod":"\u005fsession\/stopped"}`:                           true,
		`{"method":"_session/stopped","method":"session/update"}`:            true,
		`{"method":"session/update","method":"_session/stopped"}`:            true,
		`{"method":"session/update","Method":"_session/stopped"}`:            true,
		`{"METHOD":"_session/stopped","method":"session/update"}`:            true,
		`{"id":1,"result":{},"method":"_session/stopped"}`:                   true,
		`{"method":"session/update","params":{"method":"_session/stopped"}}`: false,
		`{"method":"_sessions/x"}`:                                           false,
		`{"method":"_sandboxagent/agent/list"}`:                              false,
		`{"method":"session/update"}`:                                        false,
		`{"id":1,"result":"_session/stopped"}`:                               false,
	} {
		m, err := Parse([]byte(line))
		if err != nil || m.Reserved != want {
			t.Errorf("Parse(%s) reserved is %v, want %v; error %v", line, m.Reserved, want, err)
		}
	}
}

func TestParseInvalid(t *testing.T) {
	for _, line := range []string{
		"", " ", "nope", "{", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`, `[1 2]`, `{"a":1}{`, `{"a":1} x`, `"abc`, `"\x"`, `"\u12g4"`,
		"\"\x01\"", "\"a\nb\"", "01", "-", "1.", "1e", "+1", "tru", "nulls", `{"id":tru}`, "\xef\xbb\xbf{}", `{"params":{"sessionId":"x}`, `{a:1}`,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	} {
		if _, err := Parse([]byte(line)); err == nil {
			t.Errorf("Parse(%.40q) found nothing wrong", line)
		}
		if json.Valid([]byte(line)) {
			t.Errorf("the case %.40q is valid after all", line)
		}
	}
	_, err := Parse([]byte(`{"id":1,"method":nope}`))
	if want := "expected null at offset 17"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestParseSharesTheFrame(t *testing.T) {
	line := []byte(`{"id":17,"method":"x"}`)
	m, err := Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(m.ID, 'X')
	if string(line) != `{"id":17,"method":"x"}` {
		t.Errorf("append to the id wrote into the frame: %s", line)
	}
}

func sameMessage(a, b Message) bool {
	return bytes.Equal(a.ID, b.ID) && (a.ID == nil) == (b.ID == nil) &&
		a.Method == b.Method && a.SessionID == b.SessionID && a.Kind == b.Kind && a.IsError == b.IsError
}

// parseSlow is Parse by encoding/json. Maps, not structs, as struct fields
// match keys of any case.
func parseSlow(line []byte) (Message, error) {
	var any json.RawMessage
	if err := json.Unmarshal(line, &any); err != nil {
		return Message{}, err
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(line, &top) != nil || top == nil {
		return Message{}, nil
	}
	text := func(raw json.RawMessage) string {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	session := func(raw json.RawMessage) string {
		var in map[string]json.RawMessage
		if json.Unmarshal(raw, &in) != nil {
			return ""
		}
		return text(in["sessionId"])
	}
	m := Message{ID: top["id"], Method: text(top["method"]), SessionID: session(top["params"])}
	if m.SessionID == "" {
		m.SessionID = session(top["result"])
	}
	_, hasMethod := top["method"]
	_, hasResult := top["result"]
	fault, hasError := top["error"]
	switch {
	case hasMethod && m.Method == "":
	case hasMethod && m.ID != nil:
		m.Kind = Request
	case hasMethod:
		m.Kind = Notification
	case m.ID != nil && (hasResult || hasError):
		m.Kind = Response
		m.IsError = hasError && string(fault) != "null"
	}
	return m, nil
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":7,"method":"session/prompt","params":{"sessionId":"s1"}}`,
		`{"id":null,"error":{},"result":{"sessionId":"x","sessionId":null}}`,
		`{"\u0069d":1e400,"m\u0065thod":"\ud800"}`, `[[[{}]]]`, `"\u00e9` + "\xff" + `"`, `{"method":"` + "\xc3\x28" + `"}`, `-0.0e-0`, `{"a":1,}`, "{\"a\x7f\":\"\\\"\"}",
		`{"params":null,"method":"x"}`, `{"params":{"sessionId":"12345678\\"},"params":[],"id":"12345678901234567"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, gotErr := Parse(line)
		want, wantErr := parseSlow(line)
		if (gotErr == nil) != (wantErr == nil) {
			t.Fatalf("Parse error %v, encoding/json error %v", gotErr, wantErr)
		}
		if !sameMessage(got, want) {
			t.Fatalf("\n got %+v\nwant %+v", got, want)
		}
	})
}

var benchFrame = []byte(`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"8d7a0a8e-22a1-4f0c-9d6f-0f9a7f1d6a11","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a line of text, as long as such lines are, and a bit more to fill"}}}}`)

func BenchmarkParse(b *testing.B) {
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(benchFrame)))
		for b.Loop() {
			if _, err := Parse(benchFrame); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(benchFrame)))
		for b.Loop() {
			var m struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
				Error  json.RawMessage `json:"error"`
				Params struct {
					SessionID string `json:"sessionId"`
				} `json:"params"`
			}
			if err := json.Unmarshal(benchFrame, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestIDKey(t *testing.T) {
	for id, want := range map[string]string{
		``: ``, `0`: `0`, `-7`: `-7`, `"7"`: `"7"`, `null`: `null`, `true`: `true`, `12345678901234567890123`: `12345678901234567890123`,
		`"a"`: `"a"`, `"\u0061"`: `"a"`, `"a\/b"`: `"a/b"`, `"\u00e9"`: `"é"`, `"é"`: `"é"`, `"\""`: `"""`,
		`1e2`: `100`, `100.0`: `100`, `1.5`: `1.5`, `"1e2"`: `"1e2"`, `1e999`: `1e999`,
		`{"a" : 1}`: `{"a":1}`, `[ 1 ]`: `[1]`,
	} {
		if got := IDKey([]byte(id)); got != want {
			t.Errorf("key of %s is %s, want %s", id, got, want)
		}
	}
}

// TestMember compares with what package json finds.
func TestMember(t *testing.T) {
	for _, line := range []string{
		`{"result":{"a":1},"id":2}`, ` { "result" : [ 1 , 2 ] } `, `{"result":null}`, `{"id":1}`, `{}`, `[]`, `7`, `"result"`, ``,
		`{"result":1,"result":2}`, `{"re\u0073ult":3}`, `{"Result":4}`, `{"result":5`, `{"result":6}x`, `{"result":}`, `{"a":{"result":7}}`,
	} {
		var object map[string]json.RawMessage
		wantOK := json.Unmarshal([]byte(line), &object) == nil
		got, ok := Member([]byte(line), "result")
		if ok != wantOK || string(got) != string(object["result"]) {
			t.Errorf("%s: %s, %v; want %s, %v", line, got, ok, object["result"], wantOK)
		}
	}
}

func BenchmarkMember(b *testing.B) {
	line := []byte(`{"jsonrpc":"2.0","id":7,"result":{"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Member(line, "result"); !ok {
			b.Fatal("no member")
		}
	}
}

package acp

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// TestGolden reads each frame part into its type and expects the same bytes
// when it is written again.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   any
		json string
	}{
		{"initialize", new(InitializeRequest), `{"protocolVersion":1,"clientCapabilities":{"fs":{"readTextFile":false,"writeTextFile":true},"terminal":false},"clientInfo":{"name":"c","version":"1"}}`},
		{"initialize result", new(InitializeResult), `{"protocolVersion":1,"agentCapabilities":{"loadSession":true,"promptCapabilities":{"image":true,"audio":false,"embeddedContext":true},"mcpCapabilities":{"http":true,"sse":false},"sessionCapabilities":{"list":{},"close":{}}},"authMethods":[{"id":"api-key","name":"Key"}],"agentInfo":{"name":"a","title":"A","version":"2"}}`},
		{"session new", new(NewSessionRequest), `{"cwd":"/w","mcpServers":[{"name":"s","command":"c","args":[],"env":[{"name":"A","value":"b"}]},{"type":"http","name":"h","url":"http://x/","headers":[]}]}`},
		{"session result", new(SessionResult), `{"sessionId":"s","modes":{"currentModeId":"a","availableModes":[{"id":"a","name":"A"}]},"models":{"currentModelId":"m","availableModels":[{"modelId":"m","name":"M"}]},"configOptions":[{"id":"model","name":"Model","category":"model","type":"select","currentValue":"a","options":[{"value":"a","name":"A"},{"group":"g","name":"G","options":[{"value":"b","name":"B"}]}]},{"id":"fast","name":"Fast","type":"boolean","currentValue":true}]}`},
		{"prompt", new(PromptRequest), `{"sessionId":"s","prompt":[{"type":"text","text":""},{"type":"image","data":"AA==","mimeType":"image/png"},{"type":"resource","resource":{"uri":"x","n":1e400}}]}`},
		{"prompt result", new(PromptResult), `{"stopReason":"end_turn","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}`},
		{"permission", new(PermissionRequest), `{"sessionId":"s","toolCall":{"toolCallId":"t","title":"Write <a>","kind":"edit","status":"pending","content":[{"type":"diff","path":"/w/a","oldText":null,"newText":""}],"locations":[{"path":"/w/a","line":3}],"rawInput":{"z":1,"a":12345678901234567890123}},"options":[{"optionId":"o","name":"Allow","kind":"allow_once"}]}`},
		{"selected", new(PermissionResult), `{"outcome":{"outcome":"selected","optionId":"o"}}`},
		{"cancelled", new(PermissionResult), `{"outcome":{"outcome":"cancelled"}}`},
		{"message chunk", new(SessionNotification), `{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a < b & c"}}}`},
		{"tool call", new(Update), `{"sessionUpdate":"tool_call","toolCallId":"t","title":"x","kind":"execute","status":"pending"}`},
		{"tool call update", new(Update), `{"sessionUpdate":"tool_call_update","toolCallId":"t","content":[{"type":"content","content":{"type":"text","text":"out"}},{"type":"terminal","terminalId":"1"}],"_meta":{"x":1}}`},
		{"plan", new(Update), `{"sessionUpdate":"plan","entries":[{"content":"do","priority":"high","status":"pending"}]}`},
		{"empty plan", new(Update), `{"sessionUpdate":"plan","entries":[]}`},
		{"commands", new(Update), `{"sessionUpdate":"available_commands_update","availableCommands":[{"name":"c","description":"d"}]}`},
		{"mode", new(Update), `{"sessionUpdate":"current_mode_update","currentModeId":"plan"}`},
		{"options", new(Update), `{"sessionUpdate":"config_option_update","configOptions":[]}`},
		{"info", new(Update), `{"sessionUpdate":"session_info_update","title":"T","updatedAt":"2026-01-01T00:00:00Z"}`},
		{"usage", new(Update), `{"sessionUpdate":"usage_update","used":1,"size":2,"cost":{"amount":0.5,"currency":"USD"}}`},
		{"unknown update", new(Update), `{"sessionUpdate":"notice","z":1,"a":[1e2]}`},
		{"rpc error", new(RPCError), `{"code":-32601,"message":"\"Method not found\": x","data":{"method":"x"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := json.Unmarshal([]byte(tt.json), tt.to); err != nil {
				t.Fatal(err)
			}
			got, err := encode(tt.to)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.json {
				t.Errorf("\n got %s\nwant %s", got, tt.json)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for in, want := range map[string]Version{
		`1`: 1, `1.0`: 1, `"1"`: 1, `"1.0"`: 1, `"2.0"`: 2, `"2025-03-18"`: 0, `"x"`: 0, `null`: 0, `1e300`: 0, `"NaN"`: 0,
	} {
		var req InitializeRequest
		if err := json.Unmarshal([]byte(`{"protocolVersion":`+in+`}`), &req); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if req.ProtocolVersion != want {
			t.Errorf("%s reads as %d, want %d", in, req.ProtocolVersion, want)
		}
	}
}

func TestPromptForms(t *testing.T) {
	for in, want := range map[string]string{
		`"hello"`: "hello", `{"type":"text","text":"one"}`: "one", `[]`: "", `null`: "",
		`[{"type":"text","text":"a"},{"type":"image","data":""},{"type":"text","text":"b"}]`: "a\nb",
	} {
		var p Prompt
		if err := json.Unmarshal([]byte(in), &p); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got := p.Text(); got != want {
			t.Errorf("%s: text %q, want %q", in, got, want)
		}
	}
	var p Prompt
	if err := json.Unmarshal([]byte(`7`), &p); err == nil {
		t.Error("a number passed as a prompt")
	}
}

func TestConfigOptionValues(t *testing.T) {
	o := ConfigOption{Options: []ConfigValue{
		{Value: "a", Name: "A"},
		{Name: "G", Options: []ConfigValue{{Value: "b", Name: "B"}, {Value: "a", Name: "again"}}},
		{Name: "H", Options: []ConfigValue{{Value: "c", Name: "C"}}},
	}}
	var got []string
	for _, v := range o.Values() {
		got = append(got, v.Value+v.Name)
	}
	if want := []string{"aA", "bB", "cC"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Values = %v, want %v", got, want)
	}
	if !o.Allows("c") || o.Allows("d") || !(ConfigOption{}).Allows("anything") {
		t.Error("Allows is wrong")
	}
	options := []ConfigOption{{ID: "x", Category: "mode"}, {ID: "y", Category: "model"}, {ID: "z", Category: "model"}}
	if got := OptionOfCategory(options, CategoryModel); got == nil || got.ID != "y" {
		t.Errorf("OptionOfCategory = %v", got)
	}
	if OptionOfCategory(options, "other") != nil || OptionByID(options, "z") != &options[2] {
		t.Error("OptionOfCategory or OptionByID is wrong")
	}
}

func TestToolCallMerge(t *testing.T) {
	call := ToolCall{ID: "t", Title: "old", Kind: ToolEdit, Status: StatusPending, RawInput: json.RawMessage(`{}`),
		Content: []ToolContent{{Type: ToolContentTerminal, TerminalID: "1"}}, Meta: json.RawMessage(`{"a":1,"b":2}`)}
	var update Update
	if err := json.Unmarshal([]byte(`{"sessionUpdate":"tool_call_update","toolCallId":"t","status":"completed","rawInput":null,"rawOutput":{"n":1},"_meta":{"b":3}}`), &update); err != nil {
		t.Fatal(err)
	}
	call.Merge(update.ToolCall)
	want := ToolCall{ID: "t", Title: "old", Kind: ToolEdit, Status: StatusCompleted, RawInput: json.RawMessage(`{}`), RawOutput: json.RawMessage(`{"n":1}`),
		Content: []ToolContent{{Type: ToolContentTerminal, TerminalID: "1"}}, Meta: json.RawMessage(`{"a":1,"b":3}`)}
	if !reflect.DeepEqual(call, want) {
		t.Errorf("\n got %+v\nwant %+v", call, want)
	}
	call.Merge(ToolCall{ID: "t", Content: []ToolContent{}})
	if len(call.Content) != 0 {
		t.Error("an empty list did not replace the content")
	}
}

func TestPermissionOption(t *testing.T) {
	r := PermissionRequest{Options: []PermissionOption{{"1", "", RejectOnce}, {"2", "", AllowOnce}, {"3", "", AllowOnce}}}
	if o, ok := r.Option(AllowAlways, AllowOnce); !ok || o.OptionID != "2" {
		t.Errorf("Option = %v %v", o, ok)
	}
	if _, ok := r.Option(RejectAlways); ok {
		t.Error("found a kind that is not offered")
	}
}

func TestRPCErrorText(t *testing.T) {
	for _, test := range []struct {
		err  RPCError
		want string
	}{
		{RPCError{Code: CodeAuthRequired, Message: "no key"}, "no key (authentication required, code -32000)"},
		{RPCError{Code: 400, Message: "m"}, "m (code 400)"},
		// Codex
		{RPCError{Code: CodeInternalError, Message: "Internal error", Data: json.RawMessage(`{"message":"exceeded retry limit, last status: 429 Too Many Requests","codex_error_info":{"response_too_many_failed_attempts":{"http_status_code":429}}}`)},
			"Internal error: exceeded retry limit, last status: 429 Too Many Requests (internal error, code -32603)"},
		// agents made with the JavaScript library
		{RPCError{Code: CodeInternalError, Message: "Internal error", Data: json.RawMessage(`{"details":"401 bad key"}`)}, "Internal error: 401 bad key (internal error, code -32603)"},
		{RPCError{Code: CodeMethodNotFound, Message: "Method not found", Data: json.RawMessage(`"session/fork"`)}, "Method not found: session/fork (method not found, code -32601)"},
		{RPCError{Code: 1, Message: "Agent error.", Data: json.RawMessage(`{"error":{"type":"x","message":"quota is used up"}}`)}, "Agent error: quota is used up (code 1)"},
		{RPCError{Code: 1, Message: "m", Data: json.RawMessage(`{"cause":{"error":{"reason":"deep"}}}`)}, "m: deep (code 1)"},
		// no reason, or none that the message lacks
		{RPCError{Code: 1, Message: "bad key: sk", Data: json.RawMessage(`{"message":"bad key"}`)}, "bad key: sk (code 1)"},
		{RPCError{Code: 1, Message: "m", Data: json.RawMessage(`{"errorKind":"unknown","message":null,"details":7}`)}, "m (code 1)"},
		{RPCError{Code: 1, Message: "m", Data: json.RawMessage(`["x"]`)}, "m (code 1)"},
		{RPCError{Code: 1, Message: "m", Data: json.RawMessage(`{"message":" "}`)}, "m (code 1)"},
		{RPCError{Code: 1, Message: "m", Data: json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)}, "m: " + strings.Repeat("x", 1000) + "... (code 1)"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.err.Data, got, test.want)
		}
	}
}

// FuzzUpdate expects that what is read can be written, and reads back the same.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(`{"sessionUpdate":"tool_call_update","toolCallId":"t","content":[{"type":"diff","path":"p","newText":""}]}`))
	f.Add([]byte(`{"sessionUpdate":"config_option_update","configOptions":[{"type":"boolean","currentValue":"true"}]}`))
	f.Add([]byte(`{"sessionUpdate":"plan"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var u Update
		if json.Unmarshal(data, &u) != nil {
			return
		}
		first, err := encode(u)
		if err != nil {
			t.Fatalf("write %s: %v", data, err)
		}
		var again Update
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("read again %s: %v", first, err)
		}
		second, err := encode(again)
		if err != nil || string(first) != string(second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	})
}

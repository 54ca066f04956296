package acp

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestErrorTellsTheReasonInItsData(t *testing.T) {
	for data, want := range map[string]string{
		`{"details":"401 invalid x-api-key"}`:                                         "Internal error: 401 invalid x-api-key (internal error, code -32603)",
		`"no credit left"`:                                                            "Internal error: no credit left (internal error, code -32603)",
		`{"message":"quota","hint":"x"}`:                                              "Internal error: quota (internal error, code -32603)",
		`{"error":{"type":"overloaded_error","message":"Overloaded"}}`:                "Internal error: Overloaded (internal error, code -32603)",
		`{"details":"{\"type\":\"error\",\"error\":{\"message\":\"rate limited\"}}"}`: "Internal error: rate limited (internal error, code -32603)",
		`{"errors":[{},{"detail":"second"}]}`:                                         "Internal error: second (internal error, code -32603)",
		`{"cause":{"reason":"line\n  two"}}`:                                          "Internal error: line two (internal error, code -32603)",
		`{"details":"Internal error"}`:                                                "Internal error (internal error, code -32603)",
		`{"details":{"status":429}}`:                                                  "Internal error (internal error, code -32603)",
		`{"agentStderr":"noise"}`:                                                     "Internal error (internal error, code -32603)",
		`null`:                                                                        "Internal error (internal error, code -32603)", ``: "Internal error (internal error, code -32603)", `7`: "Internal error (internal error, code -32603)",
	} {
		e := &RPCError{Code: CodeInternalError, Message: "Internal error", Data: json.RawMessage(data)}
		if got := e.Error(); got != want {
			t.Errorf("data %s: %s, want %s", data, got, want)
		}
	}
	long := &RPCError{Data: json.RawMessage(`"` + strings.Repeat("ä", 5000) + `"`)}
	if n := len(long.Reason()); n > maxReason+3 || n < maxReason-1 {
		t.Errorf("the reason has %d bytes", n)
	}
	deep := &RPCError{Data: json.RawMessage(strings.Repeat(`{"error":`, 50) + `"x"` + strings.Repeat("}", 50))}
	if got := deep.Reason(); got != "" {
		t.Errorf("a reason that deep is %s", got)
	}
}

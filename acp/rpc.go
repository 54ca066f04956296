package acp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Error codes of JSON-RPC and of the protocol. Agents use others too: some pass
// the HTTP status of their model on.
const (
	CodeParseError       = -32700
	CodeInvalidRequest   = -32600
	CodeMethodNotFound   = -32601
	CodeInvalidParams    = -32602
	CodeInternalError    = -32603
	CodeAuthRequired     = -32000
	CodeResourceNotFound = -32002
	CodeRequestCancelled = -32800
)

// IDKey returns what all spellings of an id have in common, since an agent may
// spell the id of its reply in another way than the request did: "\u0061" is "a"
// and 1e2 is 100. Numbers and strings stay apart.
func IDKey(id json.RawMessage) string {
	switch {
	case len(id) == 0:
	case id[0] == '"':
		var text string
		if bytes.IndexByte(id, '\\') >= 0 && json.Unmarshal(id, &text) == nil {
			return `"` + text + `"`
		}
	case id[0] == '{', id[0] == '[':
		var compact bytes.Buffer
		if json.Compact(&compact, id) == nil {
			return compact.String()
		}
	case bytes.ContainsAny(id, ".eE"):
		if n, err := strconv.ParseFloat(string(id), 64); err == nil {
			return strconv.FormatFloat(n, 'f', -1, 64)
		}
	}
	return string(id)
}

var codeLabels = map[int]string{
	CodeParseError:       "parse error",
	CodeInvalidRequest:   "invalid request",
	CodeMethodNotFound:   "method not found",
	CodeInvalidParams:    "invalid params",
	CodeInternalError:    "internal error",
	CodeAuthRequired:     "authentication required",
	CodeResourceNotFound: "resource not found",
	CodeRequestCancelled: "request cancelled",
}

// CodeLabel names an error code in a few words; "" when it is none of ours.
func CodeLabel(code int) string { return codeLabels[code] }

// An RPCError is the error member of a response.
type RPCError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func (e *RPCError) Error() string {
	text := e.Message
	if reason := e.Reason(); reason != "" {
		text = strings.TrimPrefix(strings.TrimSuffix(text, ".")+": "+reason, ": ")
	}
	label := CodeLabel(e.Code)
	if label == "" {
		return fmt.Sprintf("%s (code %d)", text, e.Code)
	}
	return fmt.Sprintf("%s (%s, code %d)", text, label, e.Code)
}

// maxReason bounds the reason of an error in bytes.
const maxReason = 1000

// reasonKeys are the members of an error's data that agents give the reason in, the
// more precise ones first.
var reasonKeys = []string{"message", "details", "detail", "reason", "errorMessage", "error_message", "error", "description", "cause", "data", "body", "response", "errors"}

// Reason returns what the data of an error says beyond its message, on one line:
// many agents answer "Internal error" and give the reason there alone. It is empty
// when there is nothing.
func (e *RPCError) Reason() string {
	reason := strings.Join(strings.Fields(reasonIn(e.Data, 0)), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "..."
	}
	if strings.Contains(e.Message, reason) {
		return ""
	}
	return reason
}

// reasonIn finds a reason in JSON: a text, or a member of an object or of one in a
// list, also in a text that is JSON itself.
func reasonIn(raw json.RawMessage, depth int) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || depth > 6 {
		return ""
	}
	switch raw[0] {
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return ""
		}
		if inner := strings.TrimSpace(text); strings.HasPrefix(inner, "{") && json.Valid([]byte(inner)) {
			if reason := reasonIn(json.RawMessage(inner), depth+1); reason != "" {
				return reason
			}
		}
		return text
	case '[':
		var list []json.RawMessage
		_ = json.Unmarshal(raw, &list) // else it has nothing
		for _, element := range list {
			if !isObject(element) {
				continue
			}
			if reason := reasonIn(element, depth+1); reason != "" {
				return reason
			}
		}
	case '{':
		var object map[string]json.RawMessage
		_ = json.Unmarshal(raw, &object)
		for _, key := range reasonKeys {
			if reason := reasonIn(object[key], depth+1); reason != "" {
				return reason
			}
		}
	}
	return ""
}

// Errorf returns an RPCError without data.
func Errorf(code int, format string, args ...any) *RPCError {
	return &RPCError{Code: code, Message: fmt.Sprintf(format, args...)}
}

type wireRequest struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method"`
	Params  any             `json:"params,omitempty"`
}

type wireResult struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result"`
}

type wireError struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   *RPCError       `json:"error"`
}

// RequestFrame encodes a request, or a notification when id is nil.
func RequestFrame(id json.RawMessage, method string, params any) ([]byte, error) {
	return encode(wireRequest{"2.0", id, method, params})
}

// ResultFrame encodes the answer to the request with that id. A nil result
// becomes an empty object, as some clients read members of it unasked.
func ResultFrame(id json.RawMessage, result any) ([]byte, error) {
	if result == nil {
		result = struct{}{}
	}
	return encode(wireResult{"2.0", id, result})
}

// ErrorFrame encodes the refusal of the request with that id.
func ErrorFrame(id json.RawMessage, e *RPCError) ([]byte, error) {
	return encode(wireError{"2.0", id, e})
}

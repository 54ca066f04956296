package bridge

import (
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
)

// maxOutlined bounds what an outline keeps of one value.
const maxOutlined = 1 << 10

// outline finds out what a frame is that is too long to keep: it reads all of it and
// remembers the members that routing needs, wherever they stand. The zero value is
// ready.
type outline struct {
	depth     int
	object    [3]bool // whether what is open at a depth is an object
	wantsKey  [3]bool // whether a key comes next there
	keys      [3]string
	text      []byte // of the string or number that is being read, at a depth that counts
	inString  bool
	escaped   bool
	id        []byte
	method    string
	session   string
	hasResult bool
}

// Write reads some more of the frame. It never fails.
func (o *outline) Write(p []byte) (int, error) {
	for _, b := range p {
		o.take(b)
	}
	return len(p), nil
}

func (o *outline) counts() bool { return o.depth == 1 || o.depth == 2 }

func (o *outline) keep(b byte) {
	if o.counts() && len(o.text) <= maxOutlined {
		o.text = append(o.text, b)
	}
}

func (o *outline) take(b byte) {
	if o.inString {
		o.keep(b)
		switch {
		case o.escaped:
			o.escaped = false
		case b == '\\':
			o.escaped = true
		case b == '"':
			o.inString = false
			o.end()
		}
		return
	}
	switch b {
	case '"':
		o.inString = true
		o.keep(b)
	case '{', '[':
		o.depth++
		if o.counts() {
			o.object[o.depth], o.wantsKey[o.depth] = b == '{', b == '{'
		}
	case '}', ']':
		o.end()
		o.depth--
	case ',':
		o.end()
		if o.counts() {
			o.wantsKey[o.depth] = o.object[o.depth]
		}
	case ' ', '\t', '\r', '\n', ':':
	default:
		o.keep(b)
	}
}

// end takes a key or a value that has ended.
func (o *outline) end() {
	text := o.text
	o.text = nil
	if !o.counts() || len(text) == 0 || !o.object[o.depth] {
		return
	}
	if o.wantsKey[o.depth] {
		o.wantsKey[o.depth] = false
		o.keys[o.depth] = unquoted(text)
		o.hasResult = o.hasResult || o.depth == 1 && (o.keys[1] == "result" || o.keys[1] == "error")
		return
	}
	switch {
	case len(text) > maxOutlined:
	case o.depth == 1 && o.keys[1] == "id":
		o.id = text
	case o.depth == 1 && o.keys[1] == "method":
		o.method = unquoted(text)
	case o.depth == 2 && o.keys[1] == "params" && o.keys[2] == "sessionId":
		o.session = unquoted(text)
	}
}

func unquoted(text []byte) (s string) {
	if json.Unmarshal(text, &s) != nil {
		return ""
	}
	return s
}

// message returns what the frame is, as [acp.Parse] would.
func (o *outline) message() acp.Message {
	m := acp.Message{Method: o.method, SessionID: o.session}
	if json.Valid(o.id) {
		m.ID = o.id
	}
	switch {
	case o.method != "" && m.ID != nil:
		m.Kind = acp.Request
	case o.method != "":
		m.Kind = acp.Notification
	case m.ID != nil && o.hasResult:
		m.Kind, m.IsError = acp.Response, true
	}
	return m
}

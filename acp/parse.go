package acp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
)

// A Kind says what a frame is to JSON-RPC.
type Kind uint8

// The kinds of frame.
const (
	Other        Kind = iota // valid JSON that is none of the others
	Request                  // method and id, even if the id is null
	Notification             // method and no id
	Response                 // id and no method, with result or error
)

func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Notification:
		return "notification"
	case Response:
		return "response"
	}
	return "other"
}

// A Message is what routing needs to know of one frame. The frame itself stays
// with the caller.
type Message struct {
	// ID is the id as it stands in the frame, and shares its memory. It is nil
	// without an id; an id of null is the four bytes "null".
	ID     json.RawMessage
	Method string // empty when absent or not a string

	// SessionID is params.sessionId, else result.sessionId; empty when neither
	// is a string.
	SessionID string
	Kind      Kind
	IsError   bool // a Response whose error is present and not null

	// Reserved reports whether some reader may take the method for one that only
	// the server itself uses, see [Reserved]: of two equal keys readers take
	// either, and some ignore the case of keys.
	Reserved bool
}

// A SyntaxError says where a frame stops being JSON.
type SyntaxError struct {
	Offset int // bytes before the fault
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at offset %d", e.Reason, e.Offset)
}

// Parse classifies one frame and checks that the whole of it is valid JSON; an
// error is always a [*SyntaxError]. Of two equal keys the last one counts, keys
// are compared exactly, and anything that is JSON but not an object is Other.
//
// Parse runs once for every frame of every agent. It is a hand-written scan
// since encoding/json, which can read the same five fields into raw messages,
// takes about ten times as long (BenchmarkParse); FuzzParse holds the two to
// the same results.
func Parse(line []byte) (Message, error) {
	s := scanner{data: line}
	var f frame
	s.space()
	if s.peek() == '{' {
		s.object(1, func(key []byte) { s.topLevel(key, &f) })
	} else {
		s.value(0)
	}
	s.space()
	if s.err == nil && s.pos < len(line) {
		s.fail("unexpected data after the value")
	}
	if s.err != nil {
		return Message{}, s.err
	}
	return f.message(), nil
}

// Member returns a member of the object that a frame is, as it stands there and sharing
// its memory. It is nil where the frame has no such member, and ok is false where it is
// no object, or not JSON up to its end. Keys count as for [Parse].
func Member(line []byte, name string) (value json.RawMessage, ok bool) {
	s := scanner{data: line}
	s.space()
	if s.peek() != '{' {
		return nil, false
	}
	s.object(1, func(key []byte) {
		if string(key) == name {
			value = s.rawValue(1)
		} else {
			s.value(1)
		}
	})
	s.space()
	if s.err != nil || s.pos < len(line) {
		return nil, false
	}
	return value, true
}

// frame is what one pass collects.
type frame struct {
	id, errorValue        []byte
	method                string
	hasMethod, hasResult  bool
	reserved              bool
	paramsSession, result string
}

func (f *frame) message() Message {
	m := Message{ID: f.id, Method: f.method, SessionID: f.paramsSession, Reserved: f.reserved}
	if m.SessionID == "" {
		m.SessionID = f.result
	}
	switch {
	case f.hasMethod && f.method == "":
		m.Kind = Other
	case f.hasMethod && f.id != nil:
		m.Kind = Request
	case f.hasMethod:
		m.Kind = Notification
	case f.id != nil && (f.hasResult || f.errorValue != nil):
		m.Kind = Response
		m.IsError = f.errorValue != nil && string(f.errorValue) != "null"
	}
	return m
}

// topLevel consumes the value of one key of the frame.
func (s *scanner) topLevel(key []byte, f *frame) {
	switch string(key) {
	case "id":
		f.id = s.rawValue(1)
	case "method":
		f.hasMethod = true
		f.method = methodName(s.rawValue(1))
		f.reserved = f.reserved || Reserved(f.method)
	case "params":
		f.paramsSession = s.sessionID()
	case "result":
		f.hasResult = true
		f.result = s.sessionID()
	case "error":
		f.errorValue = s.rawValue(1)
	default:
		if bytes.EqualFold(key, []byte("method")) {
			f.reserved = Reserved(stringOf(s.rawValue(1))) || f.reserved
			return
		}
		s.value(1)
	}
}

// sessionID consumes a value and returns its sessionId, if it is an object that
// has one.
func (s *scanner) sessionID() string {
	id := ""
	if s.peek() != '{' {
		s.value(1)
		return id
	}
	s.object(2, func(key []byte) {
		if string(key) == "sessionId" {
			id = stringOf(s.rawValue(2))
			return
		}
		s.value(2)
	})
	return id
}

// methodName is stringOf without an allocation for the methods that make up
// nearly all the traffic.
func methodName(raw []byte) string {
	switch string(raw) {
	case `"session/update"`:
		return MethodSessionUpdate
	case `"session/prompt"`:
		return MethodSessionPrompt
	case `"session/request_permission"`:
		return MethodRequestPermission
	case `"session/cancel"`:
		return MethodSessionCancel
	}
	return stringOf(raw)
}

// stringOf decodes a JSON string; anything else is "".
func stringOf(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	body := raw[1 : len(raw)-1]
	for _, c := range body {
		if c == '\\' || c >= 0x80 {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				return ""
			}
			return text
		}
	}
	return string(body)
}

// maxDepth is the nesting encoding/json allows.
const maxDepth = 10000

// scanner walks JSON without building anything. After a fault err is set and
// every method returns at once.
type scanner struct {
	data []byte
	pos  int
	err  error
}

func (s *scanner) fail(reason string) {
	if s.err == nil {
		s.err = &SyntaxError{Offset: s.pos, Reason: reason}
		s.pos = len(s.data)
	}
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// rawValue consumes a value and returns its bytes.
func (s *scanner) rawValue(depth int) []byte {
	start := s.pos
	s.value(depth)
	if s.err != nil {
		return nil
	}
	return s.data[start:s.pos:s.pos]
}

// value consumes any value that stands depth levels deep; no space leads it.
func (s *scanner) value(depth int) {
	switch c := s.peek(); c {
	case '"':
		s.str()
	case '{':
		s.object(depth+1, nil)
	case '[':
		s.array(depth + 1)
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			s.number()
			return
		}
		if s.pos >= len(s.data) {
			s.fail("unexpected end of JSON")
			return
		}
		s.fail("expected a value")
	}
}

// object consumes an object. With member given, it is called for each key and
// consumes the value; the key has its escapes resolved.
func (s *scanner) object(depth int, member func(key []byte)) {
	if depth > maxDepth {
		s.fail("nesting too deep")
		return
	}
	s.pos++
	s.space()
	if s.peek() == '}' {
		s.pos++
		return
	}
	for s.err == nil {
		if s.peek() != '"' {
			s.fail("expected a key")
			return
		}
		start := s.pos
		s.str()
		end := s.pos
		s.space()
		if !s.take(':') {
			return
		}
		s.space()
		if member != nil {
			member(keyOf(s.data[start:end]))
		} else {
			s.value(depth)
		}
		s.space()
		if s.peek() == '}' && s.err == nil {
			s.pos++
			return
		}
		if !s.take(',') {
			return
		}
		s.space()
	}
}

// keyOf returns a key without its quotes and escapes.
func keyOf(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(stringOf(raw))
	}
	return raw[1 : len(raw)-1]
}

func (s *scanner) array(depth int) {
	if depth > maxDepth {
		s.fail("nesting too deep")
		return
	}
	s.pos++
	s.space()
	if s.peek() == ']' {
		s.pos++
		return
	}
	for s.err == nil {
		s.value(depth)
		s.space()
		if s.peek() == ']' && s.err == nil {
			s.pos++
			return
		}
		if !s.take(',') {
			return
		}
		s.space()
	}
}

func (s *scanner) take(c byte) bool {
	if s.err != nil {
		return false
	}
	if s.peek() != c {
		if s.pos >= len(s.data) {
			s.fail("unexpected end of JSON")
		} else {
			s.fail(fmt.Sprintf("expected %q", c))
		}
		return false
	}
	s.pos++
	return true
}

func (s *scanner) literal(word string) {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		s.fail("expected " + word)
		return
	}
	s.pos += len(word)
}

func (s *scanner) number() {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		s.digits()
	}
}

// digits consumes one or more digits.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	if s.pos == start {
		s.fail("expected a digit")
		return false
	}
	return true
}

// str consumes a string, opening quote included.
func (s *scanner) str() {
	s.pos++
	for {
		s.plain()
		if s.pos >= len(s.data) {
			s.fail("unexpected end of JSON")
			return
		}
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return
		case c == '\\':
			if !s.escape() {
				return
			}
		default:
			s.fail("control character in a string")
			return
		}
	}
}

// plain skips to the next byte that ends a run of ordinary string bytes: a
// quote, a backslash or a control character. It looks at eight bytes at a time;
// the lowest flagged byte of a word is exact even where higher flags are not.
func (s *scanner) plain() {
	const (
		low  = 0x0101010101010101
		high = 0x8080808080808080
	)
	data, i := s.data, s.pos
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		quote, slash := w^(low*'"'), w^(low*'\\')
		stop := ((quote-low)&^quote | (slash-low)&^slash | (w-low*0x20)&^w) & high
		if stop != 0 {
			s.pos = i + bits.TrailingZeros64(stop)/8
			return
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	s.pos = i
}

func (s *scanner) escape() bool {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return true
	case 'u':
		s.pos++
		for range 4 {
			c := s.peek() | 0x20
			if s.pos >= len(s.data) || !(s.data[s.pos] >= '0' && s.data[s.pos] <= '9' || c >= 'a' && c <= 'f') {
				s.fail("expected a hexadecimal digit")
				return false
			}
			s.pos++
		}
		return true
	}
	s.fail("unknown escape in a string")
	return false
}

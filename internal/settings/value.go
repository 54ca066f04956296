package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/sandboxagent/sandboxagent/api"
)

// value is one JSON value of a document, with its place for error texts. Its
// readers return 422 problems that name path, line and column.
type value struct {
	doc        []byte
	start, end int // doc[start:end] is the value
	path       string
}

// parse checks that doc is one JSON value. The error is a 400 problem.
func parse(doc []byte) (value, error) {
	reason, ok := syntaxFault(doc)
	if !ok {
		return value{}, api.InvalidRequest(api.CodeInvalidJSON, "%s", reason)
	}
	trimmed := bytes.TrimLeft(doc, " \t\r\n")
	start := len(doc) - len(trimmed)
	end := start + len(bytes.TrimRight(trimmed, " \t\r\n"))
	return value{doc: doc, start: start, end: end}, nil
}

func syntaxFault(doc []byte) (reason string, ok bool) {
	if !utf8.Valid(doc) {
		return "JSON is not valid UTF-8", false
	}
	var raw json.RawMessage
	err := json.Unmarshal(doc, &raw)
	if err == nil {
		return "", true
	}
	offset := len(doc)
	if syntax, is := errors.AsType[*json.SyntaxError](err); is {
		offset = int(syntax.Offset)
	}
	return fmt.Sprintf("parse JSON: %v at %s", err, position(doc, offset)), false
}

// position names the place of the last byte before offset, counted from one.
func position(doc []byte, offset int) string {
	before := doc[:min(offset, len(doc))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return fmt.Sprintf("line %d column %d", line, column)
}

func (v value) raw() []byte { return v.doc[v.start:v.end] }

func (v value) fail(format string, args ...any) error {
	text := fmt.Sprintf(format, args...) + " at " + position(v.doc, v.end)
	if v.path != "" {
		text = v.path + ": " + text
	}
	return api.NewError(api.KindUnprocessable, "", "%s", text)
}

func (v value) expected(what string) error { return v.fail("expected %s", what) }

func (v value) is(first byte) bool { return v.doc[v.start] == first }

func (v value) child(name string, start, end int) value {
	path := name
	switch {
	case v.path == "":
	case name[0] == '[':
		path = v.path + name
	default:
		path = v.path + "." + name
	}
	return value{v.doc, start, end, path}
}

// member is one member of an object.
type member struct {
	name string
	value
}

// members reads an object in its order. Duplicate names are kept.
func (v value) members() ([]member, error) {
	if !v.is('{') {
		return nil, v.expected("an object")
	}
	var members []member
	err := v.each(func(name string, start, end int) {
		path := name
		if path == "" {
			path = `""`
		}
		members = append(members, member{name, v.child(path, start, end)})
	})
	return members, err
}

// object is members without those that are null. A duplicate name is an error,
// for one of its values would be lost.
func (v value) object() (map[string]value, error) {
	members, err := v.members()
	if err != nil {
		return nil, err
	}
	fields := make(map[string]value, len(members))
	for _, m := range members {
		if _, dup := fields[m.name]; dup {
			return nil, m.fail("duplicate field `%s`", m.name)
		}
		if !m.is('n') {
			fields[m.name] = m.value
		}
	}
	return fields, nil
}

func (v value) array() ([]value, error) {
	if !v.is('[') {
		return nil, v.expected("a list")
	}
	var items []value
	err := v.each(func(_ string, start, end int) {
		items = append(items, v.child(fmt.Sprintf("[%d]", len(items)), start, end))
	})
	return items, err
}

// each calls f with the name (of an object's member) and the place of every
// value directly inside v.
func (v value) each(f func(name string, start, end int)) error {
	dec := json.NewDecoder(bytes.NewReader(v.raw()))
	if _, err := dec.Token(); err != nil {
		return v.fail("%v", err)
	}
	for dec.More() {
		var name string
		if v.is('{') {
			token, err := dec.Token()
			if err != nil {
				return v.fail("%v", err)
			}
			name, _ = token.(string)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil && err != io.EOF {
			return v.fail("%v", err)
		}
		end := v.start + int(dec.InputOffset())
		f(name, end-len(raw), end)
	}
	return nil
}

func (v value) text() (string, error) {
	if !v.is('"') {
		return "", v.expected("a string")
	}
	var s string
	if err := json.Unmarshal(v.raw(), &s); err != nil {
		return "", v.fail("%v", err)
	}
	return s, nil
}

// filled is text that is not empty.
func (v value) filled() (string, error) {
	s, err := v.text()
	if err == nil && s == "" {
		err = v.fail("must not be empty")
	}
	return s, err
}

func (v value) texts() ([]string, error) {
	items, err := v.array()
	if err != nil {
		return nil, err
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, err := item.text()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (v value) textMap() (map[string]string, error) {
	fields, err := v.object()
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(fields))
	for name, field := range fields {
		if m[name], err = field.text(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (v value) boolean() (*bool, error) {
	var b bool
	if err := json.Unmarshal(v.raw(), &b); err != nil {
		return nil, v.expected("true or false")
	}
	return &b, nil
}

func (v value) unsigned() (*uint64, error) {
	var n uint64
	if err := json.Unmarshal(v.raw(), &n); err != nil {
		return nil, v.expected("a whole number that is not negative")
	}
	return &n, nil
}

// field reads the member of an object that goes by one of several names, and
// leaves *to alone when none is there.
func field[T any](v value, o map[string]value, to *T, read func(value) (T, error), names ...string) error {
	found := false
	for _, name := range names {
		member, ok := o[name]
		if !ok {
			continue
		}
		if found {
			return v.fail("duplicate field `%s`", names[0])
		}
		found = true
		got, err := read(member)
		if err != nil {
			return err
		}
		*to = got
	}
	return nil
}

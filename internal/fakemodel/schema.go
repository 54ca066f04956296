package fakemodel

import (
	"encoding/json"
	"slices"
	"strings"
)

// schema is the part of JSON Schema that tools use. Gemini writes its types in
// capitals.
type schema struct {
	Type       json.RawMessage            `json:"type"`
	Properties map[string]json.RawMessage `json:"properties"`
	Required   []string                   `json:"required"`
	Enum       []json.RawMessage          `json:"enum"`
	Const      json.RawMessage            `json:"const"`
	AnyOf      []json.RawMessage          `json:"anyOf"`
	OneOf      []json.RawMessage          `json:"oneOf"`
	Minimum    json.RawMessage            `json:"minimum"`
	MinItems   int                        `json:"minItems"`
	Items      json.RawMessage            `json:"items"`
}

func parseSchema(raw json.RawMessage) schema {
	var s schema
	if json.Unmarshal(raw, &s) != nil {
		return schema{}
	}
	return s
}

// kind is the type, the first one of several.
func (s schema) kind() string {
	var one string
	if json.Unmarshal(s.Type, &one) == nil && one != "" {
		return strings.ToLower(one)
	}
	var many []string
	if json.Unmarshal(s.Type, &many) == nil && len(many) > 0 {
		return strings.ToLower(many[0])
	}
	if s.Properties != nil {
		return "object"
	}
	return ""
}

// values is what a call is about; fill finds the fields for it.
type values struct {
	path, content, command string
	why                    string // for fields that want a sentence
	escalate               bool
}

// fill makes the input of a tool: what the call is about, and something valid
// for every other required key.
func fill(raw json.RawMessage, v values) json.RawMessage {
	s := parseSchema(raw)
	input := map[string]any{}
	for name, property := range s.Properties {
		if value, ok := v.field(name, parseSchema(property)); ok {
			input[name] = value
		}
	}
	for _, name := range s.Required {
		if _, ok := input[name]; ok {
			continue
		}
		p := parseSchema(s.Properties[name])
		if p.kind() == "string" && p.Enum == nil {
			input[name] = v.why
		} else {
			input[name] = sampleOf(p, 0)
		}
	}
	data, err := json.Marshal(input)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return data
}

func (v values) field(name string, s schema) (any, bool) {
	switch plain := strings.ReplaceAll(strings.ToLower(name), "_", ""); plain {
	case "path", "filepath", "file", "filename", "absolutepath", "targetfile":
		return v.path, v.path != ""
	case "content", "contents", "filetext", "text":
		return v.content, v.path != ""
	case "command", "cmd":
		if s.kind() == "array" {
			return []string{"/bin/sh", "-c", v.command}, v.command != ""
		}
		return v.command, v.command != ""
	case "sandboxpermissions":
		escalated := slices.ContainsFunc(s.Enum, func(e json.RawMessage) bool { return string(e) == `"require_escalated"` })
		return "require_escalated", v.escalate && (escalated || s.Enum == nil)
	case "justification":
		return v.why, v.escalate
	}
	return nil, false
}

// sample makes a small valid value of a schema.
func sample(raw json.RawMessage) json.RawMessage {
	data, err := json.Marshal(sampleOf(parseSchema(raw), 0))
	if err != nil || string(data) == "null" {
		return json.RawMessage(`{}`)
	}
	return data
}

// maxDepth ends schemas that contain themselves, in levels.
const maxDepth = 16

func sampleOf(s schema, depth int) any {
	switch {
	case depth > maxDepth:
		return nil
	case len(s.Const) > 0:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.AnyOf) > 0:
		return sampleOf(parseSchema(s.AnyOf[0]), depth+1)
	case len(s.OneOf) > 0:
		return sampleOf(parseSchema(s.OneOf[0]), depth+1)
	}
	switch s.kind() {
	case "string":
		return "scripted"
	case "integer", "number":
		if len(s.Minimum) > 0 {
			return s.Minimum
		}
		return 1
	case "boolean":
		return false
	case "array":
		items := []any{}
		for range min(s.MinItems, 16) {
			items = append(items, sampleOf(parseSchema(s.Items), depth+1))
		}
		return items
	case "object":
		members := map[string]any{}
		for _, name := range s.Required {
			members[name] = sampleOf(parseSchema(s.Properties[name]), depth+1)
		}
		return members
	}
	return nil
}

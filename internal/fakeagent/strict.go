package fakeagent

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// The mock takes no more than a strict agent does: what the schema of the protocol
// refuses, it refuses as invalid params. See package acp/schema, whose schema the tests
// hold it to.

// A shape checks a decoded value and says what is wrong with the one at a path.
type shape func(path string, v any) error

// shapes are the params of the methods. What they do not name is ignored, as the
// protocol has it.
var shapes = map[string]shape{
	acp.MethodInitialize:   object(fields{"protocolVersion": version}, nil),
	acp.MethodAuthenticate: object(fields{"methodId": text}, nil),
	acp.MethodSessionNew: object(
		fields{"cwd": absolute, "mcpServers": listOf(mcpServer)},
		fields{"additionalDirectories": listOf(absolute)}),
	acp.MethodSessionLoad: object(
		fields{"sessionId": text, "cwd": absolute, "mcpServers": listOf(mcpServer)},
		fields{"additionalDirectories": listOf(absolute)}),
	acp.MethodSessionResume: object(
		fields{"sessionId": text, "cwd": absolute},
		fields{"mcpServers": listOf(mcpServer), "additionalDirectories": listOf(absolute)}),
	acp.MethodSessionList:     object(nil, fields{"cwd": orNothing(absolute), "cursor": orNothing(text)}),
	acp.MethodSessionClose:    object(fields{"sessionId": text}, nil),
	acp.MethodSessionPrompt:   object(fields{"sessionId": text, "prompt": listOf(contentBlock)}, nil),
	acp.MethodSetMode:         object(fields{"sessionId": text, "modeId": text}, nil),
	acp.MethodSetModel:        object(fields{"sessionId": text, "modelId": text}, nil),
	acp.MethodSetConfigOption: object(fields{"sessionId": text, "configId": text, "value": text}, nil),
}

// contentBlocks are the blocks of a prompt that the mock offers to take, by type.
var contentBlocks = map[string]shape{
	acp.ContentText:         object(fields{"text": text}, nil),
	acp.ContentImage:        object(fields{"data": text, "mimeType": text}, nil),
	acp.ContentAudio:        object(fields{"data": text, "mimeType": text}, nil),
	acp.ContentResourceLink: object(fields{"uri": text, "name": text}, nil),
	acp.ContentResource:     object(fields{"resource": resource}, nil),
}

// mcpServers are the transports of tool servers, by type.
var mcpServers = map[string]shape{
	acp.MCPHTTP: object(fields{"name": text, "url": text, "headers": listOf(pair)}, nil),
	acp.MCPSSE:  object(fields{"name": text, "url": text, "headers": listOf(pair)}, nil),
	"":          object(fields{"name": text, "command": text, "args": listOf(text), "env": listOf(pair)}, nil),
}

// checkParams returns what is wrong with the params of a request.
func checkParams(in *acp.Incoming) error {
	check := shapes[in.Method]
	if check == nil {
		return nil
	}
	var params any
	if err := in.Decode(&params); err != nil {
		return err
	}
	if params == nil {
		params = map[string]any{}
	}
	if err := check("params", params); err != nil {
		return acp.Errorf(acp.CodeInvalidParams, "Invalid params: %v", err)
	}
	return nil
}

type fields map[string]shape

// object is an object with the fields that are required, and maybe others.
func object(required, optional fields) shape {
	return func(path string, v any) error {
		members, ok := v.(map[string]any)
		if !ok {
			return unlike(path, "an object", v)
		}
		for _, name := range slices.Sorted(maps.Keys(required)) {
			value, ok := members[name]
			if !ok {
				return fmt.Errorf("%s.%s is missing", path, name)
			}
			if err := required[name](path+"."+name, value); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(optional)) {
			value, ok := members[name]
			if !ok {
				continue
			}
			if err := optional[name](path+"."+name, value); err != nil {
				return err
			}
		}
		return nil
	}
}

func listOf(element shape) shape {
	return func(path string, v any) error {
		list, ok := v.([]any)
		if !ok {
			return unlike(path, "an array", v)
		}
		for i, e := range list {
			if err := element(fmt.Sprintf("%s[%d]", path, i), e); err != nil {
				return err
			}
		}
		return nil
	}
}

func orNothing(s shape) shape {
	return func(path string, v any) error {
		if v == nil {
			return nil
		}
		return s(path, v)
	}
}

func text(path string, v any) error {
	if _, ok := v.(string); !ok {
		return unlike(path, "a string", v)
	}
	return nil
}

func absolute(path string, v any) error {
	if err := text(path, v); err != nil {
		return err
	}
	if dir := v.(string); !filepath.IsAbs(dir) {
		return fmt.Errorf("%s is %q, not an absolute path", path, dir)
	}
	return nil
}

// version is that of the protocol. The command line of the earlier server, and the
// older Python client, give it as a text, "1.0" or a date.
func version(path string, v any) error {
	if text, ok := v.(string); ok && strings.ContainsAny(text, ".-") {
		return nil
	}
	n, ok := v.(float64)
	if !ok || n != math.Trunc(n) || n < 0 || n > math.MaxUint16 {
		return unlike(path, "a version", v)
	}
	return nil
}

// variant is an object whose type says which of several shapes it has.
func variant(shapes map[string]shape, path string, v any) error {
	members, ok := v.(map[string]any)
	if !ok {
		return unlike(path, "an object", v)
	}
	kind, ok := members["type"].(string)
	if _, given := members["type"]; given && !ok {
		return unlike(path+".type", "a string", members["type"])
	}
	check := shapes[kind]
	if check == nil {
		return fmt.Errorf("%s.type is %q, which is not offered", path, kind)
	}
	return check(path, v)
}

func mcpServer(path string, v any) error    { return variant(mcpServers, path, v) }
func contentBlock(path string, v any) error { return variant(contentBlocks, path, v) }

var pair = object(fields{"name": text, "value": text}, nil)

// resource is one embedded in a prompt, as text or as bytes.
func resource(path string, v any) error {
	asText := object(fields{"uri": text, "text": text}, nil)(path, v)
	if asText == nil || object(fields{"uri": text, "blob": text}, nil)(path, v) == nil {
		return nil
	}
	return asText
}

func unlike(path, want string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is %.80s, not %s", path, data, want)
}

// ownNames are the names of methods without a slash, and namespaces the beginnings of
// those with one, that belong to the protocol, in whichever version: clients may not
// take an echo for what they mean.
var (
	ownNames   = []string{"initialize", "initialized", "authenticate", "logout"}
	namespaces = []string{"$/", "session/", "auth/", "fs/", "terminal/", "elicitation/", "providers/", "mcp/", "proxy/", "tool_call/", "document/", "nes/"}
)

// ofProtocol reports whether a method is one of the protocol, of either side.
func ofProtocol(method string) bool {
	return slices.Contains(ownNames, method) ||
		slices.ContainsFunc(namespaces, func(space string) bool { return strings.HasPrefix(method, space) })
}

// Package schema checks frames against the JSON schema of the Agent Client Protocol,
// version 1. It is for tests: neither the server nor the mock agent links it.
//
// The file v1.json is schema/v1/schema.json of the npm package
// [@agentclientprotocol/sdk], version 2.4.0 (Apache-2.0), unchanged: the newest stable
// schema. Its source is [agent-client-protocol].
//
// [@agentclientprotocol/sdk]: https://www.npmjs.com/package/@agentclientprotocol/sdk/v/2.4.0
// [agent-client-protocol]: https://github.com/agentclientprotocol/agent-client-protocol/tree/main/schema
package schema

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/sandboxagent/sandboxagent/acp"
)

//go:embed v1.json
var document []byte

// A side sends requests and notifications.
type side string

// The sides, as the schema names the one that receives.
const (
	client side = "client"
	agent  side = "agent"
)

// methods are the definitions of one method.
type methods struct{ request, response, notification definition }

// A definition resolves itself once; nil stands for one that the schema does not have.
type definition func() (*jsonschema.Resolved, error)

// load reads the schema once.
var load = sync.OnceValues(func() (map[string]methods, error) {
	var root struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(document, &root); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	found := make(map[string]methods)
	for name, data := range root.Defs {
		var def struct {
			Method string `json:"x-method"`
			Side   side   `json:"x-side"`
		}
		if err := json.Unmarshal(data, &def); err != nil {
			return nil, fmt.Errorf("read definition %s: %w", name, err)
		}
		if def.Method == "" {
			continue
		}
		resolved := sync.OnceValues(func() (*jsonschema.Resolved, error) { return resolve(name, root.Defs) })
		m := found[string(def.Side)+" "+def.Method]
		switch {
		case strings.HasSuffix(name, "Request"):
			m.request = resolved
		case strings.HasSuffix(name, "Response"):
			m.response = resolved
		case strings.HasSuffix(name, "Notification"):
			m.notification = resolved
		}
		found[string(def.Side)+" "+def.Method] = m
	}
	return found, nil
})

// resolve returns a definition with those that it refers to.
func resolve(name string, defs map[string]json.RawMessage) (*jsonschema.Resolved, error) {
	data, err := json.Marshal(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/" + name, "$defs": defs,
	})
	if err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("resolve definition %s: %w", name, err)
	}
	return resolved, nil
}

// A Conversation checks the frames of one connection, in the order in which they were
// sent. Methods that begin with an underscore are extensions, and so are those of
// Extensions: of them only the form of the frame is checked.
type Conversation struct {
	Extensions []string

	pending map[string]string // "side id" -> method
}

// FromClient checks a frame that a client has sent.
func (c *Conversation) FromClient(frame []byte) error { return c.check(frame, client, agent) }

// FromAgent checks a frame that an agent has sent.
func (c *Conversation) FromAgent(frame []byte) error { return c.check(frame, agent, client) }

func (c *Conversation) check(frame []byte, from, to side) error {
	if c.pending == nil {
		c.pending = make(map[string]string)
	}
	msg, err := acp.Parse(frame)
	if err != nil {
		return err
	}
	var f struct {
		JSONRPC string          `json:"jsonrpc"`
		Params  json.RawMessage `json:"params"`
		Result  json.RawMessage `json:"result"`
		Error   *struct {
			Code    *int    `json:"code"`
			Message *string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if f.JSONRPC != "2.0" {
		return fmt.Errorf("jsonrpc is %q", f.JSONRPC)
	}
	known, err := load()
	if err != nil {
		return err
	}
	switch msg.Kind {
	case acp.Request:
		c.pending[string(from)+" "+string(msg.ID)] = msg.Method
		return c.params(msg.Method, f.Params, c.definitions(known, to, msg.Method).request)
	case acp.Notification:
		return c.params(msg.Method, f.Params, c.definitions(known, to, msg.Method).notification)
	case acp.Response:
		key := string(to) + " " + string(msg.ID)
		method, ok := c.pending[key]
		if !ok && string(msg.ID) != "null" {
			return fmt.Errorf("a response to no request: %s", msg.ID)
		}
		delete(c.pending, key)
		if f.Error != nil {
			if f.Error.Code == nil || f.Error.Message == nil || f.Result != nil {
				return fmt.Errorf("an error without a code or a message, or with a result")
			}
			return nil
		}
		return c.params(method, f.Result, c.definitions(known, from, method).response)
	}
	return fmt.Errorf("not a request, a notification, or a response")
}

// definitions returns what the schema says of a method of the side that receives it.
// Both sides may send those of the protocol itself.
func (c *Conversation) definitions(known map[string]methods, to side, method string) methods {
	if m, ok := known[string(to)+" "+method]; ok {
		return m
	}
	return known["protocol "+method]
}

func (c *Conversation) params(method string, data json.RawMessage, def definition) error {
	if def == nil {
		if strings.HasPrefix(method, "_") {
			return nil
		}
		for _, name := range c.Extensions {
			if name == method {
				return nil
			}
		}
		return fmt.Errorf("%s is not a method of the schema for this kind of frame", method)
	}
	var value any
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	resolved, err := def()
	if err != nil {
		return err
	}
	if err := resolved.Validate(value); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// pair is how the Agent Client Protocol writes variables and headers.
type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type stdioServer struct {
	Name    string   `json:"name"`
	Command string   `json:"command"`
	Args    []string `json:"args"`
	Env     []pair   `json:"env"`
}

type urlServer struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	URL     string `json:"url"`
	Headers []pair `json:"headers"`
}

// MCPServers returns the enabled servers configured for dir as entries of the
// mcpServers of session/new, sorted by name.
func (s *Settings) MCPServers(dir string) ([]json.RawMessage, error) {
	all, err := s.MCP.All(dir)
	if err != nil {
		return nil, err
	}
	named, err := s.namedServers(dir, all)
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, 0, len(named))
	for _, server := range named {
		list = append(list, server.raw)
	}
	return list, nil
}

type namedServer struct {
	name string
	raw  json.RawMessage
}

func (s *Settings) namedServers(dir string, all map[string]api.MCPServer) ([]namedServer, error) {
	dir = s.directory(dir)
	var list []namedServer
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		if m.Enabled != nil && !*m.Enabled {
			continue
		}
		raw, err := encode(s.entryFor(dir, name, m))
		if err != nil {
			return nil, err
		}
		list = append(list, namedServer{name, raw})
	}
	return list, nil
}

// entryFor translates a configured server for an agent.
func (s *Settings) entryFor(dir, name string, m api.MCPServer) any {
	if m.Type == api.MCPLocal {
		words := slices.Concat([]string(m.Command), m.Args)
		if m.Cwd != "" {
			cwd := m.Cwd
			if !filepath.IsAbs(cwd) {
				cwd = filepath.Join(dir, cwd)
			}
			// The protocol has no working directory, so a shell goes there first.
			words = append([]string{"/bin/sh", "-c", `cd -- "$0" && exec "$@"`, cwd}, words...)
		}
		return stdioServer{Name: name, Command: words[0], Args: words[1:], Env: pairs(m.Env)}
	}
	headers := maps.Clone(m.Headers)
	if headers == nil {
		headers = make(map[string]string)
	}
	for header, variable := range m.EnvHeaders {
		if v, ok := s.variable(name, variable); ok {
			setHeader(headers, header, v)
		}
	}
	if m.BearerTokenEnvVar != "" {
		if v, ok := s.variable(name, m.BearerTokenEnvVar); ok {
			setHeader(headers, "Authorization", "Bearer "+v)
		}
	}
	transport := m.Transport
	if transport == "" {
		transport = "http"
	}
	return urlServer{Type: transport, Name: name, URL: m.URL, Headers: pairs(headers)}
}

// variable looks up a variable that a server needs. Without it the server may
// still work, or report itself what it misses, so the session starts
// all the same.
func (s *Settings) variable(server, name string) (string, bool) {
	for _, kv := range slices.Backward(s.opts.Env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok && v != "" {
			return v, true
		}
	}
	s.opts.Log.Warn("variable of MCP server is not set, its header is left out", "server", server, "variable", name)
	return "", false
}

// setHeader sets a header in place of one whose name differs in case alone.
func setHeader(headers map[string]string, name, v string) {
	maps.DeleteFunc(headers, func(other, _ string) bool { return strings.EqualFold(other, name) })
	headers[name] = v
}

// pairs is never nil, for agents want a list even when it is empty.
func pairs(m map[string]string) []pair {
	list := make([]pair, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, pair{name, m[name]})
	}
	return list
}

// MergeMCP adds the servers configured for dir to params, the parameters of
// session/new or session/load. A server that the client named itself wins over
// a configured one of that name. Every other byte of params stays as it is;
// params that are not an object, or hold an mcpServers that is not a list, are returned
// unchanged for the agent to judge.
func (s *Settings) MergeMCP(params json.RawMessage, dir string) (json.RawMessage, error) {
	all, err := s.MCP.All(dir)
	if err != nil {
		return nil, err
	}
	return s.AddMCP(params, dir, all)
}

// AddMCP is MergeMCP for servers that are configured elsewhere; their relative
// directories are below dir.
func (s *Settings) AddMCP(params json.RawMessage, dir string, all map[string]api.MCPServer) (json.RawMessage, error) {
	servers, err := s.namedServers(dir, all)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(params)) == 0 {
		params = json.RawMessage("{}")
	}
	doc, err := parse(params)
	if err != nil {
		return nil, fmt.Errorf("merge MCP servers: %w", err)
	}
	if len(servers) == 0 || !doc.is('{') {
		return params, nil
	}
	members, err := doc.members()
	if err != nil {
		return nil, fmt.Errorf("merge MCP servers: %w", err)
	}
	for _, m := range slices.Backward(members) { // of duplicates the last counts
		if m.name == "mcpServers" {
			return mergeInto(params, m.value, servers)
		}
	}
	list := `"mcpServers":[` + join(servers) + "]"
	if len(members) > 0 {
		list = "," + list
	}
	return splice(params, doc.end-1, doc.end-1, list), nil
}

func mergeInto(params []byte, list value, servers []namedServer) (json.RawMessage, error) {
	if list.is('n') {
		return splice(params, list.start, list.end, "["+join(servers)+"]"), nil
	}
	if !list.is('[') {
		return params, nil
	}
	items, err := list.array()
	if err != nil {
		return nil, fmt.Errorf("merge MCP servers: %w", err)
	}
	taken := make(map[string]bool)
	for _, item := range items {
		var named struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(item.raw(), &named) == nil {
			taken[named.Name] = true
		}
	}
	servers = slices.DeleteFunc(servers, func(n namedServer) bool { return taken[n.name] })
	if len(servers) == 0 {
		return params, nil
	}
	added := join(servers)
	if len(items) > 0 {
		added = "," + added
	}
	return splice(params, list.end-1, list.end-1, added), nil
}

func join(servers []namedServer) string {
	raws := make([]string, 0, len(servers))
	for _, server := range servers {
		raws = append(raws, string(server.raw))
	}
	return strings.Join(raws, ",")
}

// splice returns data with data[from:to] replaced.
func splice(data []byte, from, to int, text string) json.RawMessage {
	return slices.Concat(data[:from], []byte(text), data[to:])
}

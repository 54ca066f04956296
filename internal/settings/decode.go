package settings

import (
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// dialect says how much may be missing from an entry.
type dialect int

const (
	strict  dialect = iota // an entry by itself, as the earlier server reads it
	lenient                // an entry of a whole set or of a file people edit
)

// decodeMCP reads an MCP server entry and its other names. A lenient entry may
// leave out its type, or give a transport in its place, as the configuration
// files of most MCP clients do.
func decodeMCP(v value, d dialect) (api.MCPServer, error) {
	o, err := v.object()
	if err != nil {
		return api.MCPServer{}, err
	}
	kind, transport, err := mcpType(v, o, d)
	if err != nil {
		return api.MCPServer{}, err
	}
	m := api.MCPServer{Type: kind, Transport: transport}
	read := firstError(
		field(v, o, &m.Enabled, value.boolean, "enabled"),
		field(v, o, &m.TimeoutMs, value.unsigned, "timeoutMs", "timeout"),
	)
	if kind == api.MCPLocal {
		if _, ok := o["command"]; !ok {
			return m, v.fail("missing field `command`")
		}
		err = firstError(read,
			field(v, o, &m.Command, decodeCommand, "command"),
			field(v, o, &m.Args, value.texts, "args"),
			field(v, o, &m.Env, value.textMap, "env", "environment"),
			field(v, o, &m.Cwd, value.text, "cwd"),
		)
		return m, err
	}
	if _, ok := o["url"]; !ok {
		return m, v.fail("missing field `url`")
	}
	err = firstError(read,
		field(v, o, &m.URL, value.filled, "url"),
		field(v, o, &m.Headers, value.textMap, "headers"),
		field(v, o, &m.BearerTokenEnvVar, value.text, "bearerTokenEnvVar", "bearer_token_env_var"),
		field(v, o, &m.EnvHeaders, value.textMap, "envHeaders", "envHttpHeaders", "env_http_headers"),
		field(v, o, &m.OAuth, decodeOAuth, "oauth"),
		field(v, o, &m.Transport, decodeTransport, "transport"),
	)
	return m, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// mcpType returns the canonical type, and the transport when the type named it.
func mcpType(v value, o map[string]value, d dialect) (kind, transport string, err error) {
	t, ok := o["type"]
	if !ok {
		_, command := o["command"]
		_, url := o["url"]
		switch {
		case d == lenient && command:
			return api.MCPLocal, "", nil
		case d == lenient && url:
			return api.MCPRemote, "", nil
		}
		return "", "", v.fail("missing field `type`")
	}
	name, err := t.text()
	if err != nil {
		return "", "", err
	}
	switch name {
	case "local", "stdio":
		return api.MCPLocal, "", nil
	case "remote", "http":
		return api.MCPRemote, "", nil
	}
	if d == lenient {
		if transport, err := decodeTransport(t); err == nil {
			return api.MCPRemote, transport, nil
		}
	}
	return "", "", t.fail("unknown variant `%s`, expected one of `local`, `stdio`, `http`, `remote`", name)
}

func decodeTransport(v value) (string, error) {
	name, err := v.text()
	if err != nil {
		return "", err
	}
	switch name {
	case "http", "streamable_http", "streamable-http", "streamableHttp":
		return "http", nil
	case "sse":
		return "sse", nil
	}
	return "", v.fail("unknown variant `%s`, expected `http` or `sse`", name)
}

func decodeCommand(v value) (api.MCPCommand, error) {
	if v.is('"') {
		word, err := v.filled()
		return api.MCPCommand{word}, err
	}
	if !v.is('[') {
		return nil, v.expected("a string or a list of strings")
	}
	words, err := v.texts()
	if err == nil && (len(words) == 0 || words[0] == "") {
		err = v.fail("must not be empty")
	}
	return words, err
}

func decodeOAuth(v value) (*api.MCPOAuth, error) {
	if !v.is('{') {
		on, err := v.boolean()
		if err != nil {
			return nil, v.expected("true, false or an object")
		}
		return &api.MCPOAuth{Enabled: *on}, nil
	}
	o, err := v.object()
	if err != nil {
		return nil, err
	}
	var s api.MCPOAuthSettings
	err = firstError(
		field(v, o, &s.ClientID, value.text, "clientId", "client_id"),
		field(v, o, &s.ClientSecret, value.text, "clientSecret", "client_secret"),
		field(v, o, &s.Scope, value.text, "scope"),
		field(v, o, &s.TokenURL, value.text, "tokenUrl", "token_url"),
		field(v, o, &s.Scopes, value.texts, "scopes"),
	)
	return &api.MCPOAuth{Enabled: true, Settings: &s}, err
}

// decodeSkills reads one skills entry: an object with sources.
func decodeSkills(v value, _ dialect) (api.SkillsConfig, error) {
	o, err := v.object()
	if err != nil {
		return api.SkillsConfig{}, err
	}
	list, ok := o["sources"]
	if !ok {
		return api.SkillsConfig{}, v.fail("missing field `sources`")
	}
	items, err := list.array()
	if err != nil {
		return api.SkillsConfig{}, err
	}
	config := api.SkillsConfig{Sources: make([]api.SkillSource, 0, len(items))}
	for _, item := range items {
		source, err := decodeSource(item)
		if err != nil {
			return config, err
		}
		config.Sources = append(config.Sources, source)
	}
	return config, nil
}

func decodeSource(v value) (api.SkillSource, error) {
	var s api.SkillSource
	o, err := v.object()
	if err != nil {
		return s, err
	}
	for _, name := range []string{"type", "source"} {
		if _, ok := o[name]; !ok {
			return s, v.fail("missing field `%s`", name)
		}
	}
	err = firstError(
		field(v, o, &s.Type, value.text, "type"),
		field(v, o, &s.Source, value.text, "source"),
		field(v, o, &s.Skills, value.texts, "skills"),
		field(v, o, &s.Ref, value.text, "ref"),
		field(v, o, &s.Subpath, value.text, "subpath"),
	)
	return s, err
}

// decodeMCPSet reads a whole set: {"mcpServers":{name:entry}}, {"servers":[...]}
// or {"mcpServers":[...]} with a name in each entry, or {name:entry} itself.
func decodeMCPSet(v value) (map[string]api.MCPServer, error) {
	set, named, err := wrapped(v, "mcpServers", "servers")
	if err != nil {
		return nil, err
	}
	if !named || set.is('{') {
		return decodeMap(set, decodeMCP)
	}
	items, err := set.array()
	if err != nil {
		return nil, err
	}
	entries := make(map[string]api.MCPServer, len(items))
	for _, item := range items {
		name, err := entryName(item)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(name) == "" {
			return nil, item.fail("missing field `name`")
		}
		if _, dup := entries[name]; dup {
			return nil, item.fail("duplicate name `%s`", name)
		}
		if entries[name], err = decodeMCP(item, lenient); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// defaultSkills names the entry that takes the sources given without a name.
const defaultSkills = "default"

// decodeSkillsSet reads a whole set: {"skills":{name:entry}}, {"sources":[...]},
// {"skills":[...]}, or {name:entry} itself. An item of the skills list is an
// entry with a name, a source with or without one, or the text "owner/repo".
func decodeSkillsSet(v value) (map[string]api.SkillsConfig, error) {
	o, err := v.object()
	if err != nil {
		return nil, err
	}
	if sources, ok := o["sources"]; ok && sources.is('[') {
		config, err := decodeSkills(v, lenient)
		return map[string]api.SkillsConfig{defaultSkills: config}, err
	}
	set, named, err := wrapped(v, "skills")
	if err != nil {
		return nil, err
	}
	if !named || set.is('{') {
		return decodeMap(set, decodeSkills)
	}
	items, err := set.array()
	if err != nil {
		return nil, err
	}
	entries := make(map[string]api.SkillsConfig)
	for _, item := range items {
		name, config, err := decodeSkillsItem(item)
		if err != nil {
			return nil, err
		}
		config.Sources = append(entries[name].Sources, config.Sources...)
		entries[name] = config
	}
	return entries, nil
}

func decodeSkillsItem(v value) (name string, config api.SkillsConfig, err error) {
	if v.is('"') {
		source, err := v.filled()
		if err != nil {
			return "", config, err
		}
		kind := "github"
		if strings.HasPrefix(source, "/") || strings.HasPrefix(source, ".") {
			kind = "local"
		} else if strings.Contains(source, ":") {
			kind = "git"
		}
		config.Sources = []api.SkillSource{{Type: kind, Source: source}}
		return defaultSkills, config, nil
	}
	if name, err = entryName(v); err != nil {
		return "", config, err
	}
	if strings.TrimSpace(name) == "" {
		name = defaultSkills
	}
	o, err := v.object()
	if err != nil {
		return "", config, err
	}
	if _, ok := o["sources"]; ok {
		config, err = decodeSkills(v, lenient)
		return name, config, err
	}
	source, err := decodeSource(v)
	config.Sources = []api.SkillSource{source}
	return name, config, err
}

// wrapped returns the member that holds a set under one of several names, or
// the object itself. A list or an object of objects is a set; anything else of
// that name is an entry that happens to be called so.
func wrapped(v value, names ...string) (set value, named bool, err error) {
	members, err := v.members()
	if err != nil {
		return v, false, err
	}
	for _, m := range members {
		if !slices.Contains(names, m.name) {
			continue
		}
		if m.is('[') {
			return m.value, true, nil
		}
		inner, err := m.members()
		if err == nil && !slices.ContainsFunc(inner, func(m member) bool { return !m.is('{') }) {
			return m.value, true, nil
		}
	}
	return v, false, nil
}

func entryName(v value) (name string, err error) {
	o, err := v.object()
	if err != nil {
		return "", err
	}
	err = field(v, o, &name, value.text, "name")
	return name, err
}

func decodeMap[T any](v value, decode func(value, dialect) (T, error)) (map[string]T, error) {
	members, err := v.members()
	if err != nil {
		return nil, err
	}
	entries := make(map[string]T, len(members))
	for _, m := range members {
		if strings.TrimSpace(m.name) == "" {
			return nil, m.fail("the name must not be blank")
		}
		if _, dup := entries[m.name]; dup {
			return nil, m.fail("duplicate field `%s`", m.name)
		}
		if entries[m.name], err = decode(m.value, lenient); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

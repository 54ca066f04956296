package api

import (
	"bytes"
	"encoding/json"
)

// The codes of stored configuration.
const (
	CodeConfigNotFound Code = "config_not_found"
	CodeConfigInvalid  Code = "config_invalid"
)

// The types of an MCP server entry.
const (
	MCPLocal  = "local"
	MCPRemote = "remote"
)

// MCPServer is one MCP server configured for a directory. Type decides which of
// the fields count: Command, Args, Env and Cwd belong to [MCPLocal], URL to
// Transport to [MCPRemote], Enabled and TimeoutMs to both.
type MCPServer struct {
	Type    string            `json:"type" enum:"local,remote" doc:"local runs a command and speaks over its standard streams, remote calls a URL; stdio and http are accepted as other names"`
	Command MCPCommand        `json:"command,omitempty" doc:"Program of a local server; a list gives leading arguments too"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty" doc:"Variables added for the program; environment is accepted as another name"`
	Cwd     string            `json:"cwd,omitempty" doc:"Where the program runs; relative to the configured directory"`

	URL               string            `json:"url,omitempty" doc:"Address of a remote server"`
	Headers           map[string]string `json:"headers,omitempty"`
	BearerTokenEnvVar string            `json:"bearerTokenEnvVar,omitempty" doc:"Variable of the server's environment that holds a bearer token"`
	EnvHeaders        map[string]string `json:"envHeaders,omitempty" doc:"Header names with the variables of the server's environment that hold their values"`
	OAuth             *MCPOAuth         `json:"oauth,omitempty" doc:"true, false, or the settings of an OAuth client; kept for the agent's own use"`
	Transport         string            `json:"transport,omitempty" enum:"http,sse" doc:"http when absent; streamable_http is accepted as another name"`

	Enabled   *bool   `json:"enabled,omitempty" doc:"false keeps the entry without giving it to agents"`
	TimeoutMs *uint64 `json:"timeoutMs,omitempty" doc:"Kept for clients; agents do not get it, since their protocol has no such field"`
}

// MarshalJSON writes the fields of the entry's type alone, in the order of the
// earlier server. A local entry always has args.
func (m MCPServer) MarshalJSON() ([]byte, error) {
	if m.Type != MCPLocal {
		return marshalPlain(struct {
			Type              string            `json:"type"`
			URL               string            `json:"url"`
			Headers           map[string]string `json:"headers,omitempty"`
			BearerTokenEnvVar string            `json:"bearerTokenEnvVar,omitempty"`
			EnvHeaders        map[string]string `json:"envHeaders,omitempty"`
			OAuth             *MCPOAuth         `json:"oauth,omitempty"`
			Enabled           *bool             `json:"enabled,omitempty"`
			TimeoutMs         *uint64           `json:"timeoutMs,omitempty"`
			Transport         string            `json:"transport,omitempty"`
		}{m.Type, m.URL, m.Headers, m.BearerTokenEnvVar, m.EnvHeaders, m.OAuth, m.Enabled, m.TimeoutMs, m.Transport})
	}
	args := m.Args
	if args == nil {
		args = []string{}
	}
	return marshalPlain(struct {
		Type      string            `json:"type"`
		Command   MCPCommand        `json:"command"`
		Args      []string          `json:"args"`
		Env       map[string]string `json:"env,omitempty"`
		Enabled   *bool             `json:"enabled,omitempty"`
		TimeoutMs *uint64           `json:"timeoutMs,omitempty"`
		Cwd       string            `json:"cwd,omitempty"`
	}{m.Type, m.Command, args, m.Env, m.Enabled, m.TimeoutMs, m.Cwd})
}

// MCPCommand is a program with leading arguments. On the wire one word is a
// string, more are a list; both are read.
type MCPCommand []string

// MarshalJSON implements [json.Marshaler].
func (c MCPCommand) MarshalJSON() ([]byte, error) {
	if len(c) == 1 {
		return marshalPlain(c[0])
	}
	return marshalPlain([]string(c))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *MCPCommand) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var word string
		if err := json.Unmarshal(data, &word); err != nil {
			return err
		}
		*c = MCPCommand{word}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(c))
}

// MCPOAuth says whether an MCP server is to be reached with OAuth, and how. On
// the wire it is a boolean or an object; a nil Settings is the boolean Enabled.
type MCPOAuth struct {
	Enabled  bool
	Settings *MCPOAuthSettings
}

// MCPOAuthSettings are the settings of an OAuth client. Scope and Scopes are
// what different clients send for the same thing.
type MCPOAuthSettings struct {
	ClientID     string   `json:"clientId,omitempty"`
	ClientSecret string   `json:"clientSecret,omitempty"`
	Scope        string   `json:"scope,omitempty"`
	TokenURL     string   `json:"tokenUrl,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (o MCPOAuth) MarshalJSON() ([]byte, error) {
	if o.Settings == nil {
		return json.Marshal(o.Enabled)
	}
	return marshalPlain(o.Settings)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (o *MCPOAuth) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		*o = MCPOAuth{Enabled: true, Settings: new(MCPOAuthSettings)}
		return json.Unmarshal(data, o.Settings)
	}
	*o = MCPOAuth{}
	return json.Unmarshal(data, &o.Enabled)
}

// MCPServers is the whole set of a directory.
type MCPServers struct {
	Servers map[string]MCPServer `json:"mcpServers"`
}

// SkillsConfig is one entry of the skills configured for a directory.
type SkillsConfig struct {
	Sources []SkillSource `json:"sources"`
}

// SkillSource says where skills come from. A skill is a directory that has a file
// SKILL.md.
type SkillSource struct {
	Type    string   `json:"type" doc:"github, git or local"`
	Source  string   `json:"source" doc:"owner/repo for github, a URL for git, a path for local"`
	Skills  []string `json:"skills,omitempty" doc:"Names of the skills to take; all when absent"`
	Ref     string   `json:"ref,omitempty" doc:"Branch, tag or commit; the default branch when absent"`
	Subpath string   `json:"subpath,omitempty" doc:"Directory within the source to look in"`
}

// SkillsSet is the whole set of a directory.
type SkillsSet struct {
	Skills map[string]SkillsConfig `json:"skills"`
}

// marshalPlain is json.Marshal without the escapes meant for HTML, which have
// no place in a file that people read.
func marshalPlain(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

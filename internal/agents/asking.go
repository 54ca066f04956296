package agents

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// Asking returns how an agent comes to ask before it acts.
func (c *Catalogue) Asking(id string) api.AgentAsking {
	a, err := c.Agent(id)
	if err != nil {
		return api.AgentAsking{How: api.AsksUnknown}
	}
	return a.asking()
}

func (a Agent) asking() api.AgentAsking {
	out := a.Asking
	if out.How == "" {
		out.How = api.AsksUnknown
	}
	out.Variables = slices.Clone(out.Variables)
	return out
}

// AskEnv returns the variables that make an agent ask, to replace those of a
// session that works in cwd. With always they make it ask about what its own
// settings allow too, for which files are written below the data directory; an
// error says why it cannot be made to. A session that sets the first of the
// variables itself is left as it is.
func (c *Catalogue) AskEnv(id, cwd string, session map[string]string, always bool) (map[string]string, error) {
	a, err := c.Agent(id)
	if err != nil {
		return nil, nil // a configured command
	}
	env := maps.Clone(c.env)
	maps.Copy(env, c.forwarded(a))
	maps.Copy(env, session)
	if always && a.Unasked != nil {
		if why := a.Unasked(cmp.Or(env["HOME"], c.cfg.Home), cwd); why != "" {
			return nil, fmt.Errorf("make %s ask: %s", a.Name, why)
		}
	}
	if len(a.Asking.Variables) == 0 {
		return nil, nil
	}
	if _, set := session[a.Asking.Variables[0]]; set {
		return nil, nil
	}
	vars := make(map[string]string)
	if a.AskEnv != nil {
		vars = a.AskEnv(env)
	}
	if !always {
		return vars, nil
	}
	for _, file := range a.AskFiles {
		name, err := file.write(c.askDir(), a.ID, env)
		if err != nil {
			return nil, fmt.Errorf("make %s ask: %w", a.Name, err)
		}
		vars[file.variable] = name
	}
	return vars, nil
}

// AskArgs returns the arguments that make an agent ask even about what its own
// settings allow, for which it may write a file below the data directory.
func (c *Catalogue) AskArgs(id string) ([]string, error) {
	a, err := c.Agent(id)
	if err != nil || a.AskFlag == "" {
		return nil, nil
	}
	name, err := keep(c.askDir(), a.ID, ".toml", []byte(a.AskPolicy))
	if err != nil {
		return nil, fmt.Errorf("make %s ask: %w", a.Name, err)
	}
	return []string{a.AskFlag, name}, nil
}

// askDir is where the private settings of agents are.
func (c *Catalogue) askDir() string { return filepath.Join(c.cfg.DataDir, "asking") }

// AskParams adds to the parameters that open a session what makes an agent ask
// even about what its own settings allow.
func (c *Catalogue) AskParams(id string, params json.RawMessage) (json.RawMessage, error) {
	a, err := c.Agent(id)
	if err != nil || a.AskParams == nil {
		return params, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(params, &object); err != nil {
		return nil, fmt.Errorf("read the parameters of a session: %w", err)
	}
	if err := a.AskParams(object); err != nil {
		return nil, fmt.Errorf("make %s ask: %w", a.Name, err)
	}
	return json.Marshal(object)
}

// Normalize returns a tool call of an agent, in a session that works in cwd, as
// policies judge it.
func (c *Catalogue) Normalize(id, cwd string, call acp.ToolCall) acp.ToolCall {
	a, err := c.Agent(id)
	if err != nil || a.Normalize == nil {
		return call
	}
	return a.Normalize(cwd, call)
}

// ReplaysLate reports whether an agent tells the history of a session after it
// has answered session/load, and ends it with its commands.
func (c *Catalogue) ReplaysLate(id string) bool {
	a, err := c.Agent(id)
	return err == nil && a.ReplaysLate
}

// SumsUsage reports whether the usage in the answers of an agent is that of the
// whole session, not of the turn.
func (c *Catalogue) SumsUsage(id string) bool {
	a, err := c.Agent(id)
	return err == nil && a.SumsUsage
}

// AskingWords says in a line how an agent comes to ask.
func AskingWords(a api.AgentAsking) string {
	words := ""
	switch a.How {
	case api.AsksByMode:
		words = "in mode " + a.Mode + ", in which sessions are started"
	case api.AsksByDefault:
		words = "in mode " + a.Mode + ", its own default"
		if len(a.Variables) > 0 {
			words += ", with " + strings.Join(a.Variables, " and ") + " set"
		}
	case api.AsksByEnvironment:
		words = "by " + strings.Join(a.Variables, " and ")
		if a.Mode != "" {
			words += ", in mode " + a.Mode
		}
	case api.AsksNever:
		words = "never; only a session that allows everything takes it"
	default:
		words = "not known"
	}
	if a.Note != "" {
		words += "; " + a.Note
	}
	return words
}

// input names the members of the input of an agent's tool calls. What else a call
// says repeats them, or is for people.
type input struct {
	command string // the command line
	dir     string // where it runs; empty if the agent has no such member
	file    string // the file that an edit changes
}

// normalize is the Normalize of an agent whose input is told by these members. A
// call with a list of arguments or with variables, or one that touches more than
// its file, is left to be judged as it is.
func (in input) normalize(cwd string, call acp.ToolCall) acp.ToolCall {
	var raw map[string]json.RawMessage
	if json.Unmarshal(call.RawInput, &raw) != nil {
		return call
	}
	text := func(name string) (value string) {
		_ = json.Unmarshal(raw[name], &value) // anything else is no text
		return value
	}
	adds := slices.ContainsFunc([]string{"args", "env", "environment"}, func(name string) bool { return raw[name] != nil })
	if line := text(in.command); line != "" && call.Kind == acp.ToolExecute && !adds {
		return executes(call, line, text(in.dir), cwd)
	}
	if file := text(in.file); file != "" && call.Kind == acp.ToolEdit && touchesOnly(call, file) {
		return edits(call, file)
	}
	return call
}

// executes returns a call that runs a command line in dir, which is left out
// where it is the directory of the session. All else that the agent says of the
// call repeats the line or is for people.
func executes(call acp.ToolCall, line, dir, cwd string) acp.ToolCall {
	if dir != "" && dir != cwd {
		line = "cd " + shellwords.Quote(dir) + " && " + line
	}
	call.Kind = acp.ToolExecute
	call.RawInput = encoded(map[string]string{"command": line})
	return call
}

// edits returns a call that changes one file. What the agent repeats of the
// change as text is left out.
func edits(call acp.ToolCall, file string) acp.ToolCall {
	call.RawInput = encoded(map[string]string{"file_path": file})
	if !slices.ContainsFunc(call.Locations, func(l acp.Location) bool { return l.Path == file }) {
		call.Locations = append(slices.Clone(call.Locations), acp.Location{Path: file})
	}
	return call
}

func encoded(members map[string]string) json.RawMessage {
	raw, _ := json.Marshal(members) // strings can always be encoded
	return raw
}

// shells are the programs by which agents run a command line, in the grammar
// that policies are judged by.
var shells = []string{"bash", "sh", "dash"}

// lineOf returns the command line that an agent hands to a shell of its own
// choice, as in [/bin/bash -lc LINE].
func lineOf(argv []string) (string, bool) {
	if len(argv) != 3 || argv[1] != "-lc" && argv[1] != "-c" {
		return "", false
	}
	return argv[2], slices.Contains(shells, argv[0][strings.LastIndexByte(argv[0], '/')+1:])
}

// touchesOnly reports whether a file is all that the locations and diffs of a
// call name.
func touchesOnly(call acp.ToolCall, file string) bool {
	return !slices.ContainsFunc(call.Locations, func(l acp.Location) bool { return l.Path != file }) &&
		!slices.ContainsFunc(call.Content, func(c acp.ToolContent) bool { return c.Path != "" && c.Path != file })
}

package agents

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Claude Code, by way of its ACP adapter.
var claude = Agent{
	ID:   "claude",
	Name: "Claude Code",
	Capabilities: api.AgentCapabilities{
		Permissions: true, Questions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, MCPTools: true, StreamingDeltas: true,
	},
	Options: []api.AgentConfigOption{
		models("default", "default=Default", "sonnet=Sonnet", "opus=Opus", "haiku=Haiku"),
		modes("default", "default=Default", "acceptEdits=Accept Edits", "plan=Plan", "dontAsk=Don't Ask", "bypassPermissions=Bypass Permissions"),
	},
	SkillDirs: []string{".claude/skills"},
	Command:   "claude-agent-acp",
	Native:    "claude",
	Packages: []Package{
		{Name: "@agentclientprotocol/claude-agent-acp", Version: "0.101.0"},
	},
	Lock:          lockEverywhere,
	NativePackage: "@anthropic-ai/claude-code",
	NativeEnv:     "CLAUDE_CODE_EXECUTABLE",
	MinNode:       "20.0",
	RegistryID:    "claude-acp",
	Environ:       claudeEnviron,
	Asking: api.AgentAsking{
		How: api.AsksByMode, Mode: "default",
		Note: "commands that only read run unasked, and so does what its own settings allow, unless the permissions of the session reject something",
	},
	AskParams: claudeAskParams,
	Normalize: input{command: "command", file: "file_path"}.normalize,
	Credentials: CredentialNeeds{
		Providers: []string{"anthropic"},
		Hint:      "set ANTHROPIC_API_KEY, or log in once with claude",
	},
	SignIn: []string{"anthropic-api-key"},
}

// claudeEnviron drops an IS_SANDBOX that only the adapter heeds. The adapter
// takes any value as leave for root to skip permissions, Claude Code only 1, and
// so every session of root would fail.
func claudeEnviron(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool {
		value, ok := strings.CutPrefix(kv, "IS_SANDBOX=")
		return ok && value != "1"
	})
}

// claudeAskParams gives a session settings of its own by which Claude Code asks
// about these tools in every mode: what asks counts before what the settings of
// the user and of the project allow.
func claudeAskParams(params map[string]json.RawMessage) error {
	var err error
	params["_meta"], err = json.Marshal(map[string]any{"claudeCode": map[string]any{"options": map[string]any{
		"settings": map[string]any{"permissions": map[string]any{"ask": []string{"Bash", "Edit", "Write", "NotebookEdit"}}},
	}}})
	return err
}

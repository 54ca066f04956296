package agents

import (
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
	Credentials: CredentialNeeds{
		Providers: []string{"anthropic"},
		Hint:      "set ANTHROPIC_API_KEY, or log in once with claude",
	},
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

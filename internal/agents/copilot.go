package agents

import "github.com/sandboxagent/sandboxagent/api"

// GitHub Copilot CLI. With a provider of one's own it needs no login.
var copilot = Agent{
	ID:   "copilot",
	Name: "GitHub Copilot CLI",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, SessionLifecycle: true, ErrorEvents: true, Reasoning: true,
		CommandExecution: true, FileChanges: true, MCPTools: true, StreamingDeltas: true,
		ItemStarted: true,
	},
	Note:      "Drops MCP servers that are started as a program; those over HTTP and SSE are taken.",
	NoMCP:     map[string]string{MCPProgram: "it takes MCP servers over HTTP and SSE alone; serve it that way"},
	SkillDirs: []string{".github/skills"},
	Command:   "copilot",
	Args:      []string{"--acp"},
	Native:    "copilot",
	Packages: []Package{
		{Name: "@github/copilot", Version: "1.0.102"},
	},
	Lock:       lockEverywhere,
	RegistryID: "github-copilot",
	MinNode:    "24.0",
	Env:        map[string]string{"COPILOT_AUTO_UPDATE": "false"},
	Credentials: CredentialNeeds{
		Env:   []string{"COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "COPILOT_PROVIDER_API_KEY"},
		Files: []string{".copilot/config.json"},
		Hint:  "set GH_TOKEN, or COPILOT_PROVIDER_BASE_URL and COPILOT_PROVIDER_API_KEY, or log in once with copilot",
	},
	Asking: api.AgentAsking{
		How: api.AsksByDefault, Mode: "https://agentclientprotocol.com/protocol/session-modes#agent",
		Variables: []string{"COPILOT_ALLOW_ALL"},
	},
	AskEnv: func(map[string]string) map[string]string {
		return map[string]string{"COPILOT_ALLOW_ALL": "false"}
	},
	SumsUsage: true,
	Normalize: input{command: "command", file: "fileName"}.normalize,
}

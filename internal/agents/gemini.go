package agents

import "github.com/sandboxagent/sandboxagent/api"

// Gemini CLI. It has no config options, only the older session/set_model.
var gemini = Agent{
	ID:   "gemini",
	Name: "Gemini CLI",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, Images: true, FileAttachments: true, SessionLifecycle: true,
		ErrorEvents: true, Reasoning: true, CommandExecution: true, FileChanges: true,
		MCPTools: true, StreamingDeltas: true, ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		modes("default", "default=Default", "autoEdit=Auto Edit", "yolo=YOLO", "plan=Plan"),
	},
	SkillDirs: []string{".gemini/skills"},
	Command:   "gemini",
	Args:      []string{"--acp"},
	Native:    "gemini",
	Packages: []Package{
		{Name: "@google/gemini-cli", Version: "0.61.0"},
	},
	Lock:       lockEverywhere,
	MinNode:    "20.0",
	RegistryID: "gemini",
	// Without trust in the folder it silently ignores the MCP servers of a session.
	Env: map[string]string{"GEMINI_CLI_TRUST_WORKSPACE": "true"},
	Credentials: CredentialNeeds{
		Env:   []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"},
		Files: []string{".gemini/oauth_creds.json"},
		Hint:  "set GEMINI_API_KEY, or log in once with gemini",
	},
}

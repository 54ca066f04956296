package agents

import "github.com/sandboxagent/sandboxagent/api"

// Qwen Code.
var qwen = Agent{
	ID:   "qwen",
	Name: "Qwen Code",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, SessionLifecycle: true, ErrorEvents: true, Reasoning: true,
		CommandExecution: true, FileChanges: true, MCPTools: true, StreamingDeltas: true,
		ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		modes("auto", "plan=Plan", "default=Default", "auto-edit=Auto Edit", "auto=Auto", "yolo=YOLO"),
	},
	SkillDirs: []string{".qwen/skills"},
	Command:   "qwen",
	Args:      []string{"--acp"},
	Native:    "qwen",
	Packages: []Package{
		{Name: "@qwen-code/qwen-code", Version: "0.24.4"},
	},
	Lock:       lockEverywhere,
	RegistryID: "qwen-code",
	MinNode:    "24.0",
	Credentials: CredentialNeeds{
		Providers: []string{"openai"},
		Files:     []string{".qwen/oauth_creds.json"},
		Hint:      "set OPENAI_API_KEY and OPENAI_BASE_URL, or log in once with qwen",
	},
	Asking:    api.AgentAsking{How: api.AsksByMode, Mode: "default", Note: "what its own settings allow runs unasked"},
	Normalize: input{command: "command", dir: "directory", file: "file_path"}.normalize,
}

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
	Asking: api.AgentAsking{
		How: api.AsksByMode, Mode: "default", Variables: []string{"QWEN_CODE_SYSTEM_SETTINGS_PATH"},
		Note: "what its own settings allow runs unasked, unless the permissions of the session reject something",
	},
	AskFiles: []askFile{{
		variable: "QWEN_CODE_SYSTEM_SETTINGS_PATH", machine: "/etc/qwen-code/settings.json",
		// What asks counts before what allows, wherever either stands.
		members: map[string]any{"permissions": map[string]any{"ask": []any{"Bash", "Edit", "Write", "NotebookEdit", "WebFetch", "mcp__*"}}},
	}},
	Normalize: input{command: "command", dir: "directory", file: "file_path"}.normalize,
}

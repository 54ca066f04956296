package agents

import "github.com/sandboxagent/sandboxagent/api"

// Factory Droid.
var droid = Agent{
	ID:   "droid",
	Name: "Factory Droid",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, SessionLifecycle: true, ErrorEvents: true, Reasoning: true,
		CommandExecution: true, FileChanges: true, MCPTools: true, StreamingDeltas: true,
		ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		modes("normal", "normal=Normal", "spec=Spec", "auto-low=Auto Low", "auto-medium=Auto Medium", "auto-high=Auto High"),
	},
	SkillDirs: []string{".factory/skills"},
	Command:   "droid",
	Args:      []string{"exec", "--output-format", "acp"},
	Native:    "droid",
	Packages: []Package{
		{Name: "droid", Version: "0.215.0"},
	},
	Lock:       lockLinuxX64,
	RegistryID: "factory-droid",
	Credentials: CredentialNeeds{
		Env:   []string{"FACTORY_API_KEY"},
		Files: []string{".factory/auth.json"},
		Hint:  "set FACTORY_API_KEY, or log in once with droid",
	},
	Asking: api.AgentAsking{
		How: api.AsksByDefault, Mode: "normal",
		Note: "commands that only read run unasked, and so does what its own settings allow",
	},
	Normalize: input{command: "command", file: "file_path"}.normalize,
}

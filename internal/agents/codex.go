package agents

import "github.com/sandboxagent/sandboxagent/api"

// Codex. Two adapters run offline: this one starts in a second and takes 120 MB;
// its successor, @agentclientprotocol/codex-acp, can do more (fork, delete) but
// needs twice the disk, three times the memory and five times as long to start,
// and hangs when its input ends early. The smaller one is the default.
var codex = Agent{
	ID:   "codex",
	Name: "Codex",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, Images: true, FileAttachments: true, SessionLifecycle: true,
		ErrorEvents: true, Reasoning: true, Status: true, CommandExecution: true,
		FileChanges: true, MCPTools: true, StreamingDeltas: true, ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		models("gpt-5.3-codex", "gpt-5.3-codex", "gpt-5.3-codex-spark=GPT-5.3-Codex-Spark", "gpt-5.2-codex", "gpt-5.1-codex-max", "gpt-5.2", "gpt-5.1-codex-mini"),
		modes("read-only", "read-only=Read Only", "auto=Default", "full-access=Full Access"),
		thoughtLevels("high", "low=Low", "medium=Medium", "high=High", "xhigh=Xhigh"),
	},
	SkillDirs: []string{".agents/skills", ".codex/skills"},
	Command:   "codex-acp",
	Native:    "codex",
	Packages: []Package{
		{Name: "@zed-industries/codex-acp", Version: "0.16.0"},
	},
	Lock:       lockEverywhere,
	RegistryID: "codex-acp",
	Credentials: CredentialNeeds{
		Providers: []string{"openai"},
		Hint:      "set OPENAI_API_KEY, or log in once with codex",
	},
}

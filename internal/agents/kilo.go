package agents

import "github.com/sandboxagent/sandboxagent/api"

// Kilo, a relative of OpenCode.
var kilo = Agent{
	ID:   "kilo",
	Name: "Kilo",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, ToolCalls: true, ToolResults: true, TextMessages: true,
		Images: true, FileAttachments: true, SessionLifecycle: true, ErrorEvents: true,
		Reasoning: true, CommandExecution: true, FileChanges: true, MCPTools: true,
		StreamingDeltas: true, ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		modes("code", "code=Code", "ask=Ask", "debug=Debug", "orchestrator=Orchestrator", "plan=Plan"),
	},
	SkillDirs: []string{".kilocode/skills"},
	Command:   "kilo",
	Args:      []string{"acp"},
	Native:    "kilo",
	Packages: []Package{
		{Name: "@kilocode/cli", Version: "7.7.7"},
	},
	Lock: lockLinuxX64,
	Credentials: CredentialNeeds{
		Providers: []string{"anthropic", "openai"},
		Files:     []string{".local/share/kilo/auth.json", ".config/kilo/kilo.json"},
		Hint:      "set ANTHROPIC_API_KEY or OPENAI_API_KEY, or run: kilo auth login",
	},
	Asking: api.AgentAsking{
		How: api.AsksByEnvironment, Mode: "code", Variables: []string{"KILO_PERMISSION", "KILO_CONFIG_CONTENT"},
	},
	AskEnv:    opencodeAskEnv("KILO", "code"),
	Normalize: input{command: "command", dir: "workdir", file: "filepath"}.normalize,
	Forwarded: func(url string, env map[string]string) map[string]string {
		return opencodeForwarded("KILO", "kilo", url, env)
	},
}

package agents

import (
	"cmp"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
)

// The agent inside this program. It plans, asks, changes files
// and talks by script, and needs neither installation nor credentials.
var mock = Agent{
	ID:   "mock",
	Name: "Mock",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, Questions: true, ToolCalls: true,
		ToolResults: true, TextMessages: true, Images: true, FileAttachments: true,
		SessionLifecycle: true, ErrorEvents: true, Reasoning: true, Status: true,
		CommandExecution: true, FileChanges: true, MCPTools: true, StreamingDeltas: true,
		ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		models("mock", "mock=Mock", "mock-fast=Mock Fast"),
		modes("normal", "normal=Normal", "plan=Plan"),
		thoughtLevels("low", "low=Low", "medium=Medium", "high=High"),
	},
	Asking:    api.AgentAsking{How: api.AsksByDefault, Mode: "normal"},
	SkillDirs: []string{".agents/skills"},
	Builtin:   []string{"mock"},
	Records: func(home string, env map[string]string, session string) []string {
		data := cmp.Or(env["XDG_DATA_HOME"], filepath.Join(cmp.Or(env["HOME"], home), ".local", "share"))
		record := filepath.Join(data, "sandbox-agent", "mock", session)
		return []string{record + ".json", record + ".jsonl"}
	},
}

package agents

import "github.com/sandboxagent/sandboxagent/api"

// piNoMCP is why Pi has no MCP servers.
const piNoMCP = "it takes no MCP servers; give it skills in their place"

// Pi, by way of an adapter that starts pi itself. Before 0.81 pi leaves the
// adapter waiting for ever on session/new, so the two are pinned together.
var pi = Agent{
	ID:   "pi",
	Name: "Pi",
	Capabilities: api.AgentCapabilities{
		ToolCalls: true, ToolResults: true, TextMessages: true, Images: true,
		SessionLifecycle: true, ErrorEvents: true, StreamingDeltas: true, ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		models("default", "default=Default"),
	},
	Note:         "Takes no MCP servers.",
	NoMCP:        map[string]string{MCPProgram: piNoMCP, "http": piNoMCP, "sse": piNoMCP},
	SkillDirs:    []string{".pi/skills"},
	Command:      "pi-acp",
	Native:       "pi",
	NativeNeeded: true,
	Packages: []Package{
		{Name: "pi-acp", Version: "0.0.34"},
		{Name: "@earendil-works/pi-coding-agent", Version: "0.87.1", Native: true},
	},
	Lock:       lockEverywhere,
	RegistryID: "pi-acp",
	MinNode:    "22.19",
	Credentials: CredentialNeeds{
		Providers: []string{"anthropic", "openai", "*"},
		Files:     []string{".pi/agent/auth.json", ".pi/agent/models.json"},
		Assumed:   true,
		Hint:      "set ANTHROPIC_API_KEY or OPENAI_API_KEY, or log in once with pi",
	},
	Asking: api.AgentAsking{How: api.AsksNever},
	Hints: map[string]string{
		"Cannot call write after a stream was destroyed": "pi has ended, mostly for want of an API key: set ANTHROPIC_API_KEY or OPENAI_API_KEY, or log in once with pi",
	},
}

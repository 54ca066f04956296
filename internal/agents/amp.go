package agents

import "github.com/sandboxagent/sandboxagent/api"

// Amp. Its own program does not speak ACP, and the adapter is not everywhere
// to be had, so it goes as far as an adapter that is found.
var amp = Agent{
	ID:   "amp",
	Name: "Amp",
	Capabilities: api.AgentCapabilities{
		ToolCalls: true, ToolResults: true, TextMessages: true, ErrorEvents: true,
		MCPTools: true,
	},
	Options: []api.AgentConfigOption{
		models("amp-default", "amp-default=Amp Default"),
		modes("default", "default=Default", "bypass=Bypass"),
	},
	Note:      "Needs an Amp account and the amp-acp adapter, which is a project of its own; its npm package could not be tried.",
	SkillDirs: []string{".agents/skills"},
	Command:   "amp-acp",
	Native:    "amp",
	Packages: []Package{
		{Name: "amp-acp", Version: "0.7.0"},
	},
	RegistryID: "amp-acp",
	Credentials: CredentialNeeds{
		Providers: []string{"anthropic"},
		Env:       []string{"AMP_API_KEY"},
		Hint:      "set AMP_API_KEY, or log in once with amp",
	},
}

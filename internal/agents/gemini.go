package agents

import (
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

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
	// Without trust in the directory it silently ignores the MCP servers of a session.
	Env: map[string]string{"GEMINI_CLI_TRUST_WORKSPACE": "true"},
	Credentials: CredentialNeeds{
		Env:   []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"},
		Files: []string{".gemini/oauth_creds.json"},
		Hint:  "set GEMINI_API_KEY, or log in once with gemini",
	},
	Asking: api.AgentAsking{
		How: api.AsksByDefault, Mode: "default",
		Note: "commands that only read run unasked, and so does what its own settings allow, unless the permissions of the session reject something",
	},
	AskFlag: "--admin-policy", AskPolicy: geminiPolicy,
	Normalize:   geminiCall,
	ReplaysLate: true,
}

// geminiPolicy asks about what changes something, before the policies of the user
// and of the project are looked at. In plan mode the rules of that mode hold.
const geminiPolicy = `[[rule]]
toolName = ["run_shell_command", "write_file", "replace", "web_fetch", "save_memory", "mcp_*"]
decision = "ask_user"
priority = 500
modes = ["default", "autoEdit", "yolo"]
`

// geminiCall reads the command of a call from its title, as there is no input,
// and where it runs from the text: "[in DIR]", unless it is the directory of the
// session. The model writes DIR and what follows it.
func geminiCall(cwd string, call acp.ToolCall) acp.ToolCall {
	if call.Kind != acp.ToolExecute || len(call.RawInput) > 0 || call.Title == "" {
		return call
	}
	dir := ""
	for _, c := range call.Content {
		if c.Content == nil {
			continue
		}
		if in, ok := strings.CutPrefix(c.Content.Text, "[in "); ok {
			dir = in[:max(strings.LastIndexByte(in, ']'), 0)]
		}
	}
	return executes(call, call.Title, dir, cwd)
}

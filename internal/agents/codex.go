package agents

import (
	"encoding/json"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

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
	Note:      "A command that runs while a turn is cancelled goes on until the session ends.",
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
	SignIn: []string{"codex-api-key", "openai-api-key"},
	Asking: api.AgentAsking{
		How: api.AsksByDefault, Mode: "read-only",
		Note: "commands run unasked in its own sandbox, which cannot write; it asks for what must leave the sandbox, edits too, as commands",
	},
	Normalize:     codexCall,
	ForwardedArgs: codexForwarded,
}

// codexForwarded makes a provider of the forwarder: that of OpenAI which Codex has
// takes no other server from a variable, and would try WebSockets there for a while.
func codexForwarded(url string) []string {
	return []string{
		"-c", `model_provider="sandbox"`,
		"-c", `model_providers.sandbox={name="OpenAI", base_url="` + url + `/v1", env_key="OPENAI_API_KEY", wire_api="responses"}`,
	}
}

// codexCall reads the command of a call, which is a shell's argv, and where it
// runs. The other members, among them parsed_cmd, repeat it.
func codexCall(cwd string, call acp.ToolCall) acp.ToolCall {
	var input struct {
		Command []string `json:"command"`
		CWD     string   `json:"cwd"`
	}
	if json.Unmarshal(call.RawInput, &input) != nil || len(input.Command) == 0 {
		return call
	}
	line, ok := lineOf(input.Command)
	if !ok {
		words := make([]string, len(input.Command))
		for i, word := range input.Command {
			words[i] = shellwords.Quote(word)
		}
		line = strings.Join(words, " ")
	}
	return executes(call, line, input.CWD, cwd)
}

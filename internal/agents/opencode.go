package agents

import (
	"encoding/json"
	"slices"

	"github.com/sandboxagent/sandboxagent/api"
)

// OpenCode, whose own program speaks ACP.
var opencode = Agent{
	ID:   "opencode",
	Name: "OpenCode",
	Capabilities: api.AgentCapabilities{
		ToolCalls: true, ToolResults: true, TextMessages: true, Images: true,
		FileAttachments: true, SessionLifecycle: true, ErrorEvents: true, MCPTools: true,
		StreamingDeltas: true, ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		models("opencode/gemini-3-pro",
			"anthropic/claude-3-5-haiku-20241022=Anthropic/Claude Haiku 3.5",
			"anthropic/claude-3-5-haiku-latest=Anthropic/Claude Haiku 3.5 (latest)",
			"anthropic/claude-3-5-sonnet-20240620=Anthropic/Claude Sonnet 3.5",
			"anthropic/claude-3-5-sonnet-20241022=Anthropic/Claude Sonnet 3.5 v2",
			"anthropic/claude-3-7-sonnet-20250219=Anthropic/Claude Sonnet 3.7",
			"anthropic/claude-3-7-sonnet-latest=Anthropic/Claude Sonnet 3.7 (latest)",
			"anthropic/claude-3-haiku-20240307=Anthropic/Claude Haiku 3",
			"anthropic/claude-3-opus-20240229=Anthropic/Claude Opus 3",
			"anthropic/claude-3-sonnet-20240229=Anthropic/Claude Sonnet 3",
			"anthropic/claude-haiku-4-5=Anthropic/Claude Haiku 4.5 (latest)",
			"anthropic/claude-haiku-4-5-20251001=Anthropic/Claude Haiku 4.5",
			"anthropic/claude-opus-4-0=Anthropic/Claude Opus 4 (latest)",
			"anthropic/claude-opus-4-1=Anthropic/Claude Opus 4.1 (latest)",
			"anthropic/claude-opus-4-1-20250805=Anthropic/Claude Opus 4.1",
			"anthropic/claude-opus-4-20250514=Anthropic/Claude Opus 4",
			"anthropic/claude-opus-4-5=Anthropic/Claude Opus 4.5 (latest)",
			"anthropic/claude-opus-4-5-20251101=Anthropic/Claude Opus 4.5",
			"anthropic/claude-opus-4-6=Anthropic/Claude Opus 4.6",
			"anthropic/claude-sonnet-4-0=Anthropic/Claude Sonnet 4 (latest)",
			"anthropic/claude-sonnet-4-20250514=Anthropic/Claude Sonnet 4",
			"anthropic/claude-sonnet-4-5=Anthropic/Claude Sonnet 4.5 (latest)",
			"anthropic/claude-sonnet-4-5-20250929=Anthropic/Claude Sonnet 4.5",
			"cerebras/gpt-oss-120b=Cerebras/GPT OSS 120B",
			"cerebras/qwen-3-235b-a22b-instruct-2507=Cerebras/Qwen 3 235B Instruct",
			"cerebras/zai-glm-4.7=Cerebras/Z.AI GLM-4.7",
			"openai/gpt-5.1-codex=OpenAI/GPT-5.1 Codex",
			"openai/gpt-5.1-codex-max=OpenAI/GPT-5.1 Codex Max",
			"openai/gpt-5.1-codex-mini=OpenAI/GPT-5.1 Codex mini",
			"openai/gpt-5.2=OpenAI/GPT-5.2",
			"openai/gpt-5.2-codex=OpenAI/GPT-5.2 Codex",
			"openai/gpt-5.3-codex=OpenAI/GPT-5.3 Codex",
			"opencode/big-pickle=OpenCode Zen/Big Pickle",
			"opencode/claude-3-5-haiku=OpenCode Zen/Claude Haiku 3.5",
			"opencode/claude-haiku-4-5=OpenCode Zen/Claude Haiku 4.5",
			"opencode/claude-opus-4-1=OpenCode Zen/Claude Opus 4.1",
			"opencode/claude-opus-4-5=OpenCode Zen/Claude Opus 4.5",
			"opencode/claude-opus-4-6=OpenCode Zen/Claude Opus 4.6",
			"opencode/claude-sonnet-4=OpenCode Zen/Claude Sonnet 4",
			"opencode/claude-sonnet-4-5=OpenCode Zen/Claude Sonnet 4.5",
			"opencode/gemini-3-flash=OpenCode Zen/Gemini 3 Flash",
			"opencode/gemini-3-pro=OpenCode Zen/Gemini 3 Pro",
			"opencode/glm-4.6=OpenCode Zen/GLM-4.6",
			"opencode/glm-4.7=OpenCode Zen/GLM-4.7",
			"opencode/gpt-5=OpenCode Zen/GPT-5",
			"opencode/gpt-5-codex=OpenCode Zen/GPT-5 Codex",
			"opencode/gpt-5-nano=OpenCode Zen/GPT-5 Nano",
			"opencode/gpt-5.1=OpenCode Zen/GPT-5.1",
			"opencode/gpt-5.1-codex=OpenCode Zen/GPT-5.1 Codex",
			"opencode/gpt-5.1-codex-max=OpenCode Zen/GPT-5.1 Codex Max",
			"opencode/gpt-5.1-codex-mini=OpenCode Zen/GPT-5.1 Codex Mini",
			"opencode/gpt-5.2=OpenCode Zen/GPT-5.2",
			"opencode/gpt-5.2-codex=OpenCode Zen/GPT-5.2 Codex",
			"opencode/kimi-k2=OpenCode Zen/Kimi K2",
			"opencode/kimi-k2-thinking=OpenCode Zen/Kimi K2 Thinking",
			"opencode/kimi-k2.5=OpenCode Zen/Kimi K2.5",
			"opencode/kimi-k2.5-free=OpenCode Zen/Kimi K2.5 Free",
			"opencode/minimax-m2.1=OpenCode Zen/MiniMax M2.1",
			"opencode/minimax-m2.1-free=OpenCode Zen/MiniMax M2.1 Free",
			"opencode/trinity-large-preview-free=OpenCode Zen/Trinity Large Preview",
		),
		modes("build", "build=Build", "plan=Plan"),
	},
	SkillDirs: []string{".opencode/skills"},
	Command:   "opencode",
	Args:      []string{"acp"},
	Native:    "opencode",
	Packages: []Package{
		{Name: "opencode-ai", Version: "1.18.33"},
	},
	Programs:   platformPackages("opencode", "", "-baseline", "-musl", "-baseline-musl"),
	Lock:       lockLinuxX64,
	RegistryID: "opencode",
	Credentials: CredentialNeeds{
		Providers: []string{"openai", "anthropic", "*"},
		Hint:      "set ANTHROPIC_API_KEY or OPENAI_API_KEY, or run: opencode auth login",
	},
	Asking: api.AgentAsking{
		How: api.AsksByEnvironment, Mode: "build", Variables: []string{"OPENCODE_PERMISSION", "OPENCODE_CONFIG_CONTENT"},
	},
	AskEnv:    opencodeAskEnv("OPENCODE", "build"),
	Normalize: input{command: "command", dir: "workdir", file: "filepath"}.normalize,
	Forwarded: func(url string, env map[string]string) map[string]string {
		return opencodeForwarded("OPENCODE", "opencode", url, env)
	},
}

// opencodeForwarded returns the variable by which OpenCode, or a relative of it, uses a
// forwarder to models. It reads no variables for base URLs, and without a network its
// vendor's own provider cannot be reached, which it would prefer. What the user has
// configured counts before this.
func opencodeForwarded(prefix, vendor, url string, env map[string]string) map[string]string {
	name := prefix + "_CONFIG_CONTENT"
	at := func(url string) map[string]any { return map[string]any{"options": map[string]any{"baseURL": url}} }
	config := map[string]any{
		"provider":           map[string]any{"anthropic": at(url + "/v1"), "openai": at(url + "/v1"), "google": at(url + "/v1beta")},
		"disabled_providers": []string{vendor},
		"autoupdate":         false,
	}
	if text := env[name]; text != "" {
		var users map[string]any
		if json.Unmarshal([]byte(text), &users) != nil {
			return nil // it is not JSON, and the agent says so
		}
		merge(config, users)
	}
	data, _ := json.Marshal(config) // made of JSON
	return map[string]string{name: string(data)}
}

// opencodeAskEnv returns the AskEnv of OpenCode, or of a relative of it whose
// variables have another prefix and whose mode another name.
//
// The last pattern that matches counts, and those of an agent after those of all: a
// pattern of the user's "*" would count where ours replaced an earlier one, so ours
// are written as nobody else does. Agents of the user's own are kept out by the
// mode. An agent that is called for a task has no mode; what the user's own may do
// cannot be outranked without their names, and what others ask in a session of
// their own reaches no client, so that they would wait for ever. Only the one that
// explores can be called, without commands.
func opencodeAskEnv(prefix, mode string) func(map[string]string) map[string]string {
	return func(env map[string]string) map[string]string {
		ask := map[string]any{"edit*": "ask", "bash*": "ask", "task*": map[string]any{"*": "deny", "explore": "allow"}}
		agents := map[string]any{
			mode:      map[string]any{"permission": ask},
			"explore": map[string]any{"permission": map[string]any{"edit*": "deny", "bash*": "deny"}},
		}
		out := make(map[string]string, 2)
		for name, members := range map[string]map[string]any{
			prefix + "_PERMISSION":     ask,
			prefix + "_CONFIG_CONTENT": {"agent": agents},
		} {
			var object map[string]any
			if text := env[name]; text != "" && json.Unmarshal([]byte(text), &object) != nil {
				continue // it is not JSON, and the agent says so
			}
			if object == nil {
				object = make(map[string]any)
			}
			merge(object, members)
			data, _ := json.Marshal(object) // made of JSON
			out[name] = string(data)
		}
		return out
	}
}

// merge adds members to a configuration, at any depth; lists are appended. A
// decision in place of an object stands for all that the object has no pattern for.
func merge(into, members map[string]any) {
	for key, value := range members {
		inner, isObject := value.(map[string]any)
		if !isObject {
			if list, ok := value.([]any); ok {
				before, _ := into[key].([]any)
				value = append(slices.Clip(before), list...)
			}
			into[key] = value
			continue
		}
		outer, wasObject := into[key].(map[string]any)
		if !wasObject {
			outer = map[string]any{}
			if decision, ok := into[key].(string); ok {
				outer["*"] = decision
			}
		}
		merge(outer, inner)
		into[key] = outer
	}
}

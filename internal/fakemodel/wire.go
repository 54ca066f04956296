package fakemodel

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// key is the credential agents are given. Nothing checks it.
const key = "fake-key"

// A wiring is what makes one agent use the scripted model. {BASE} stands for the
// address of the server.
type wiring struct {
	env   []string
	files map[string]string // by name below the home directory
}

var wirings = map[string]wiring{
	"claude": {env: []string{"ANTHROPIC_BASE_URL={BASE}", "ANTHROPIC_API_KEY=" + key}},
	"codex": {
		env: []string{"FAKE_KEY=" + key},
		files: map[string]string{".codex/config.toml": `model = "` + Model + `"
model_provider = "fake"

[model_providers.fake]
name = "Fake"
base_url = "{BASE}/v1"
env_key = "FAKE_KEY"
wire_api = "responses"
`},
	},
	"opencode": {
		env: []string{"OPENCODE_DISABLE_AUTOUPDATE=1"},
		files: map[string]string{".config/opencode/opencode.json": `{
  "model": "fake/` + Model + `", "small_model": "fake/` + Model + `", "autoupdate": false, "share": "disabled",
  "provider": {"fake": {"npm": "@ai-sdk/openai-compatible", "name": "Fake",
    "options": {"baseURL": "{BASE}/v1", "apiKey": "` + key + `"},
    "models": {"` + Model + `": {"name": "Fake Model"}}}}
}
`},
	},
	"pi": {
		env: []string{"PI_OFFLINE=1"},
		files: map[string]string{
			".pi/agent/models.json": `{"providers": {"fake": {"baseUrl": "{BASE}/v1", "api": "openai-completions", "apiKey": "` + key + `",
  "models": [{"id": "` + Model + `", "name": "Fake Model", "reasoning": false, "input": ["text"], "contextWindow": 128000, "maxTokens": 8192,
    "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}]}}}
`,
			".pi/agent/settings.json": `{"defaultProvider": "fake", "defaultModel": "` + Model + `", "quietStartup": true}
`,
		},
	},
	"gemini": {
		env: []string{"GEMINI_API_KEY=" + key, "GOOGLE_GEMINI_BASE_URL={BASE}", "GEMINI_CLI_TRUST_WORKSPACE=true"},
		files: map[string]string{".gemini/settings.json": `{"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"disableAutoUpdate": true}, "privacy": {"usageStatisticsEnabled": false}}
`},
	},
	"qwen": {
		env: []string{"OPENAI_API_KEY=" + key, "OPENAI_BASE_URL={BASE}/v1", "OPENAI_MODEL=" + Model},
		files: map[string]string{".qwen/settings.json": `{"security": {"auth": {"selectedType": "openai"}}, "model": {"name": "` + Model + `"}}
`},
	},
	"kilo": {
		env: []string{"KILO_DISABLE_AUTOUPDATE=1"},
		files: map[string]string{".config/kilo/kilo.json": `{
  "model": "fake/` + Model + `", "small_model": "fake/` + Model + `", "autoupdate": false, "share": "disabled",
  "provider": {"fake": {"npm": "@ai-sdk/openai-compatible", "name": "Fake",
    "options": {"baseURL": "{BASE}/v1", "apiKey": "` + key + `"},
    "models": {"` + Model + `": {"name": "Fake Model"}}}}
}
`},
	},
	"droid": {
		env: []string{"FACTORY_API_KEY=" + key},
		files: map[string]string{".factory/settings.json": `{"customModels": [{"model": "` + Model + `", "id": "custom:fake", "displayName": "Fake", "baseUrl": "{BASE}/v1", "apiKey": "` + key + `",
  "provider": "generic-chat-completion-api", "maxOutputTokens": 8000}],
  "sessionDefaultSettings": {"model": "custom:fake"}}
`},
	},
	"copilot": {env: []string{"COPILOT_PROVIDER_BASE_URL={BASE}/v1", "COPILOT_PROVIDER_API_KEY=" + key, "COPILOT_MODEL=" + Model, "COPILOT_OFFLINE=true", "COPILOT_AUTO_UPDATE=false"}},
}

// Wire makes an agent that runs with that home directory use the server at baseURL,
// such as "http://127.0.0.1:8080". It writes the configuration files the agent
// needs, over those that are there, and returns the variables to add to its
// environment, HOME among them. Codex's home must not be below the system's
// temporary directory, or its sandbox does not work.
func Wire(agent, baseURL, home string) (env []string, err error) {
	w, ok := wirings[agent]
	if !ok {
		return nil, fmt.Errorf("the model cannot be tried with %q, only with %s", agent, strings.Join(Agents(), ", "))
	}
	baseURL = strings.TrimRight(baseURL, "/")
	for name, text := range w.files {
		file := filepath.Join(home, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("create config directory: %w", err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "{BASE}", baseURL)), 0o600); err != nil {
			return nil, fmt.Errorf("write config: %w", err)
		}
	}
	env = []string{"HOME=" + home}
	for _, v := range w.env {
		env = append(env, strings.ReplaceAll(v, "{BASE}", baseURL))
	}
	return env, nil
}

// Agents returns the ids of the agents that [Wire] knows, sorted.
func Agents() []string { return slices.Sorted(maps.Keys(wirings)) }

const usage = `A model server without a model, to try agents with no key and no network. It
speaks Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and Gemini.

  write notes.txt with some text      calls the agent's tool that writes files
  add a README that says hello        the same
  run ls -la                          calls its shell tool
  what did I say                      quotes your earlier messages
Anything else is answered with itself. After a tool the turn ends with what the
tool said. Codex, which writes files by commands, asks for more rights to do so,
and for other commands when the text says "ask first".

Keywords at the start of a prompt; where an agent takes a slash for a command of
its own, write fake: in place of it:
  /error [STATUS] [TEXT]   answer with an HTTP error (400)
  /delay 2s [PROMPT]       wait, then answer PROMPT
  /think TEXT              think TEXT, then answer it
  /long [N]                a long text in many small pieces, to be cancelled
Keywords count only in requests that offer tools, as agents' own background
requests repeat the prompt.

--script FILE answers from a JSON array of turns first: {"text", "thinking",
"calls": [{"name", "input"}], "error": {"status", "message"}, "delay", "pace"}.
GET /__requests shows what was asked.

--for AGENT makes a home directory in which that agent uses this model, and prints a
command to try it with. Without it, point the agent here by its own settings, say
ANTHROPIC_BASE_URL=http://127.0.0.1:PORT ANTHROPIC_API_KEY=any for claude, and
http://127.0.0.1:PORT/v1 for those that speak as OpenAI does.
`

// Usage is the help text of the server.
func Usage() string { return usage }

package agents

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

func TestCredentialsAvailable(t *testing.T) {
	m := newMachine(t)
	check := func(want string) {
		t.Helper()
		var got []string
		for _, info := range m.catalogue().List(t.Context(), InfoOptions{}).Agents {
			if info.CredentialsAvailable {
				got = append(got, info.ID)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Error(diff)
		}
	}
	check("pi cursor mock")
	m.env = append(m.env, "OPENAI_API_KEY=k", "GEMINI_API_KEY=")
	check("codex opencode pi cursor mock qwen kilo")
	m.env = append(m.env, "ANTHROPIC_API_KEY=k")
	m.write(filepath.Join(m.home, ".factory/auth.json"), "{}", 0o600)
	check("claude codex opencode amp pi cursor mock qwen kilo")
}

func TestCredential(t *testing.T) {
	cred := func(provider string) credentials.Credential {
		return credentials.Credential{Provider: provider, Source: "environment", Key: credentials.NewSecret("key-of-" + provider)}
	}
	a, o := cred("anthropic"), cred("openai")
	both := credentials.Found{Anthropic: &a, OpenAI: &o}
	other := credentials.Found{Other: map[string]credentials.Credential{"groq": cred("groq")}}
	for _, test := range []struct {
		from     credentials.Found
		agent    Agent
		provider string
		want     string
	}{
		{both, claude, "", "key-of-anthropic"},
		{both, codex, "", "key-of-openai"},
		{both, opencode, "", "key-of-openai"},
		{both, opencode, "anthropic", "key-of-anthropic"},
		{other, opencode, "", "key-of-groq"},
		{other, opencode, "groq", "key-of-groq"},
		{both, codex, "anthropic", "agent Codex only supports provider openai"},
		{other, claude, "", "no credentials found for agent claude"},
	} {
		c, err := test.agent.Credential(test.from, test.provider)
		got := c.Key.Reveal()
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("agent %q, provider %q: got %q, want %q", test.agent.ID, test.provider, got, test.want)
		}
	}
}

func TestSignIn(t *testing.T) {
	c := newMachine(t).catalogue()
	for id, want := range map[string]string{
		"codex":   "codex-api-key openai-api-key",
		"claude":  "anthropic-api-key",
		"mock":    "anthropic-api-key codex-api-key openai-api-key",
		"unknown": "anthropic-api-key codex-api-key openai-api-key",
	} {
		if got := strings.Join(c.SignIn(id), " "); got != want {
			t.Errorf("%s signs in by %q, want %q", id, got, want)
		}
	}
}

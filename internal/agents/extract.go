package agents

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CredentialView is a credential as the command line shows it.
type CredentialView struct {
	Provider string `json:"provider"`
	Source   string `json:"source"`
	AuthType string `json:"auth_type"`
	APIKey   string `json:"api_key"`
	Redacted bool   `json:"redacted"`
}

// CredentialsView shows credentials; a provider without one is null.
type CredentialsView struct {
	Anthropic *CredentialView           `json:"anthropic"`
	OpenAI    *CredentialView           `json:"openai"`
	Other     map[string]CredentialView `json:"other"`
}

func (c Credential) view(reveal bool) CredentialView {
	v := CredentialView{Provider: c.Provider, Source: c.Source, AuthType: c.AuthType, APIKey: c.Key.String(), Redacted: !reveal}
	if reveal {
		v.APIKey = c.Key.Reveal()
	}
	return v
}

// View returns the credentials for people, with the secrets only if revealed.
func (c Credentials) View(reveal bool) CredentialsView {
	out := CredentialsView{Other: make(map[string]CredentialView)}
	for _, named := range []struct {
		from *Credential
		to   **CredentialView
	}{{c.Anthropic, &out.Anthropic}, {c.OpenAI, &out.OpenAI}} {
		if named.from != nil {
			v := named.from.view(reveal)
			*named.to = &v
		}
	}
	for name, cred := range c.Other {
		out.Other[name] = cred.view(reveal)
	}
	return out
}

// Extract returns the one credential that an agent, a provider, or both name.
// An agent alone gets the first of its providers that has one; the last resort
// of an agent that takes any is the only other one there is.
func (c Credentials) Extract(a Agent, provider string) (Credential, error) {
	if a.ID == "" {
		if cred, ok := c.Provider(provider); ok {
			return cred, nil
		}
		return Credential{}, fmt.Errorf("no credentials found for provider %s", provider)
	}
	wanted := a.Credentials.Providers
	if provider != "" {
		if !slices.Contains(wanted, provider) && !slices.Contains(wanted, "*") {
			return Credential{}, fmt.Errorf("agent %s only supports provider %s", a.Name, strings.Join(wanted, " or "))
		}
		wanted = []string{provider}
	}
	for _, name := range wanted {
		if cred, ok := c.Provider(name); ok {
			return cred, nil
		}
	}
	if provider == "" && slices.Contains(wanted, "*") && len(c.Other) == 1 {
		for _, cred := range c.Other {
			return cred, nil
		}
	}
	return Credential{}, fmt.Errorf("no credentials found for agent %s", a.ID)
}

// ExtractEnv returns assignments for a shell, one a line, quoted so that they
// can be evaluated whatever the secrets hold. A provider whose name makes no
// variable is left out.
func (c Credentials) ExtractEnv(export bool) string {
	prefix := ""
	if export {
		prefix = "export "
	}
	var b strings.Builder
	line := func(key string, s Secret) {
		fmt.Fprintf(&b, "%s%s=%s\n", prefix, key, Quote(s.Reveal()))
	}
	if c.Anthropic != nil {
		line("ANTHROPIC_API_KEY", c.Anthropic.Key)
		line("CLAUDE_API_KEY", c.Anthropic.Key)
	}
	if c.OpenAI != nil {
		line("OPENAI_API_KEY", c.OpenAI.Key)
		line("CODEX_API_KEY", c.OpenAI.Key)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Other)) {
		key := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_", " ", "_", "/", "_").Replace(name)) + "_API_KEY"
		if validVariable().MatchString(key) {
			line(key, c.Other[name].Key)
		}
	}
	return b.String()
}

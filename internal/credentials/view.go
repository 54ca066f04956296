package credentials

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// View is a credential as the command line shows it.
type View struct {
	Provider string `json:"provider"`
	Source   string `json:"source"`
	AuthType string `json:"auth_type"`
	APIKey   string `json:"api_key"`
	Redacted bool   `json:"redacted"`
}

// FoundView shows credentials; a provider without one is null.
type FoundView struct {
	Anthropic *View           `json:"anthropic"`
	OpenAI    *View           `json:"openai"`
	Other     map[string]View `json:"other"`
}

func (c Credential) view(reveal bool) View {
	v := View{Provider: c.Provider, Source: c.Source, AuthType: c.AuthType, APIKey: c.Key.String(), Redacted: !reveal}
	if reveal {
		v.APIKey = c.Key.Reveal()
	}
	return v
}

// View returns the credentials for people, with the secrets only if revealed.
func (c Found) View(reveal bool) FoundView {
	out := FoundView{Other: make(map[string]View)}
	for _, named := range []struct {
		from *Credential
		to   **View
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

// ExtractEnv returns assignments for a shell, one a line, quoted so that they
// can be evaluated whatever the secrets hold. A provider whose name makes no
// variable is left out.
func (c Found) ExtractEnv(export bool) string {
	prefix := ""
	if export {
		prefix = "export "
	}
	var b strings.Builder
	line := func(key string, s Secret) {
		fmt.Fprintf(&b, "%s%s=%s\n", prefix, key, shellwords.Quote(s.Reveal()))
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
		if variable().MatchString(key) {
			line(key, c.Other[name].Key)
		}
	}
	return b.String()
}

var variable = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

package credentials

import (
	"fmt"
	"iter"
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

// EnvFile returns an assignment a line as an environment file has them, such as that
// of "docker run --env-file": what follows the first "=" is the value as it is. Such a
// file has no form for a value of several lines; the variables of those are omitted.
func (c Found) EnvFile() (text string, omitted []string) {
	var b strings.Builder
	for key, secret := range c.variables() {
		value := secret.Reveal()
		if strings.ContainsAny(value, "\n\r\x00") {
			omitted = append(omitted, key)
			continue
		}
		fmt.Fprintf(&b, "%s=%s\n", key, value)
	}
	return b.String(), omitted
}

// ShellExports returns assignments for a shell, one for each variable, quoted where
// that is needed for them to do nothing but assign, whatever the secrets hold.
func (c Found) ShellExports() string {
	var b strings.Builder
	for key, secret := range c.variables() {
		value := secret.Reveal()
		if !plainWord().MatchString(value) {
			value = shellwords.Quote(value)
		}
		fmt.Fprintf(&b, "export %s=%s\n", key, value)
	}
	return b.String()
}

// variables yields the variables that agents look for. A provider whose name makes
// no variable is left out.
func (c Found) variables() iter.Seq2[string, Secret] {
	type assignment struct {
		key    string
		secret Secret
	}
	var all []assignment
	add := func(secret Secret, keys ...string) {
		for _, key := range keys {
			all = append(all, assignment{key, secret})
		}
	}
	if c.Anthropic != nil {
		add(c.Anthropic.Key, "ANTHROPIC_API_KEY", "CLAUDE_API_KEY")
	}
	if c.OpenAI != nil {
		add(c.OpenAI.Key, "OPENAI_API_KEY", "CODEX_API_KEY")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Other)) {
		key := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_", " ", "_", "/", "_").Replace(name)) + "_API_KEY"
		if variable().MatchString(key) {
			add(c.Other[name].Key, key)
		}
	}
	return func(yield func(string, Secret) bool) {
		for _, a := range all {
			if !yield(a.key, a.secret) {
				return
			}
		}
	}
}

var variable = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// plainWord matches what a shell reads as it stands.
var plainWord = lazyregexp.New(`^[A-Za-z0-9_@%+=:,./-]+$`)

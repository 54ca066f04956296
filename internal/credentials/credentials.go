// Package credentials looks for what gives access to model providers: in an
// environment and in the files that coding agents keep below a home directory.
// It is handed both and reads no others, sends nothing anywhere, and stores
// nothing. Which agent takes which credential is known to package agents.
package credentials

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sources is where [Discover] looks. It is handed an environment and a home
// directory and reads no others.
type Sources struct {
	Env     []string  // as "K=V"; an empty value is not a credential
	Home    string    // empty means that no file is read
	NoOAuth bool      // leave logins out, take API keys only
	Now     time.Time // logins that expired before it are left out; zero is now
}

// Credential is what gives access to a model provider.
type Credential struct {
	Provider string
	Source   string // environment, amp, claude-code, codex or opencode
	AuthType string // api_key or oauth
	Key      Secret
}

// The types of a [Credential].
const (
	AuthAPIKey = "api_key"
	AuthOAuth  = "oauth"
)

// Found is what was found, at most one credential for each provider.
type Found struct {
	Anthropic *Credential
	OpenAI    *Credential
	Other     map[string]Credential
}

// Provider returns the credential for a provider.
func (c Found) Provider(name string) (Credential, bool) {
	named := map[string]*Credential{"anthropic": c.Anthropic, "openai": c.OpenAI}
	if p, ok := named[name]; ok {
		if p == nil {
			return Credential{}, false
		}
		return *p, true
	}
	cred, ok := c.Other[name]
	return cred, ok
}

// Names returns the providers with a credential, sorted.
func (c Found) Names() []string {
	names := slices.Collect(maps.Keys(c.Other))
	if c.Anthropic != nil {
		names = append(names, "anthropic")
	}
	if c.OpenAI != nil {
		names = append(names, "openai")
	}
	slices.Sort(names)
	return names
}

const (
	anthropic = "anthropic"
	openai    = "openai"

	maxCredentialFile = 4 << 20 // bytes; ~/.claude.json has histories in it
)

// Discover looks for credentials in the environment and in the files of the
// agents, in a fixed order; the first for a provider counts. Files that are
// missing or cannot be read are none.
func Discover(src Sources) Found {
	d := &discovery{Sources: src, env: make(map[string]string)}
	for _, kv := range src.Env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			d.env[key] = strings.TrimSpace(value)
		}
	}
	if d.Now.IsZero() {
		d.Now = time.Now()
	}
	shared := d.opencode()
	found := Found{
		Anthropic: first(d.anthropicEnv, d.amp, d.claudeKeys, d.claudeLogin, pick(shared, anthropic)),
		OpenAI:    first(d.openaiEnv, d.codex, pick(shared, openai)),
		Other:     shared,
	}
	delete(shared, anthropic)
	delete(shared, openai)
	return found
}

type discovery struct {
	Sources
	env map[string]string
}

func first(finders ...func() *Credential) *Credential {
	for _, find := range finders {
		if c := find(); c != nil {
			return c
		}
	}
	return nil
}

func pick(from map[string]Credential, provider string) func() *Credential {
	c, ok := from[provider]
	return func() *Credential {
		if !ok {
			return nil
		}
		return &c
	}
}

func (d *discovery) credential(provider, source, authType, key string) *Credential {
	key = strings.TrimSpace(key)
	if key == "" || authType == AuthOAuth && d.NoOAuth {
		return nil
	}
	return &Credential{Provider: provider, Source: source, AuthType: authType, Key: NewSecret(key)}
}

func (d *discovery) fromEnv(provider, authType string, keys ...string) *Credential {
	for _, key := range keys {
		if c := d.credential(provider, "environment", authType, d.env[key]); c != nil {
			return c
		}
	}
	return nil
}

func (d *discovery) anthropicEnv() *Credential {
	if c := d.fromEnv(anthropic, AuthAPIKey, "ANTHROPIC_API_KEY", "CLAUDE_API_KEY"); c != nil {
		return c
	}
	return d.fromEnv(anthropic, AuthOAuth, "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN")
}

func (d *discovery) openaiEnv() *Credential {
	return d.fromEnv(openai, AuthAPIKey, "OPENAI_API_KEY", "CODEX_API_KEY")
}

func (d *discovery) amp() *Credential {
	doc := d.read(".amp/config.json")
	for _, path := range []string{
		"anthropicApiKey", "anthropic_api_key", "apiKey", "api_key", "accessToken", "access_token", "token",
		"auth.anthropicApiKey", "auth.apiKey", "auth.token", "anthropic.apiKey", "anthropic.token",
	} {
		if c := d.credential(anthropic, "amp", AuthAPIKey, text(doc, path)); c != nil {
			return c
		}
	}
	return nil
}

func (d *discovery) claudeKeys() *Credential {
	for _, name := range []string{".claude.json.api", ".claude.json", ".claude.json.nathan"} {
		doc := d.read(name)
		for _, path := range []string{"primaryApiKey", "apiKey", "anthropicApiKey", "customApiKey"} {
			// The files also hold keys of other kinds under these names.
			if key := text(doc, path); strings.HasPrefix(key, "sk-ant-") {
				return d.credential(anthropic, "claude-code", AuthAPIKey, key)
			}
		}
	}
	return nil
}

func (d *discovery) claudeLogin() *Credential {
	for _, name := range []string{".claude/.credentials.json", ".claude-oauth-credentials.json"} {
		doc := d.read(name)
		if d.expired(at(doc, "claudeAiOauth.expiresAt")) {
			continue
		}
		if c := d.credential(anthropic, "claude-code", AuthOAuth, text(doc, "claudeAiOauth.accessToken")); c != nil {
			return c
		}
	}
	return nil
}

func (d *discovery) codex() *Credential {
	doc := d.read(".codex/auth.json")
	if c := d.credential(openai, "codex", AuthAPIKey, text(doc, "OPENAI_API_KEY")); c != nil {
		return c
	}
	return d.credential(openai, "codex", AuthOAuth, text(doc, "tokens.access_token"))
}

// opencode returns the credentials of all providers that OpenCode knows.
func (d *discovery) opencode() map[string]Credential {
	found := make(map[string]Credential)
	for provider, entry := range d.read(".local/share/opencode/auth.json") {
		var c *Credential
		switch text(entry, "type") {
		case "api":
			c = d.credential(provider, "opencode", AuthAPIKey, text(entry, "key"))
		case "oauth":
			if !d.expired(at(entry, "expires")) {
				c = d.credential(provider, "opencode", AuthOAuth, text(entry, "access"))
			}
		}
		if c != nil {
			found[provider] = *c
		}
	}
	return found
}

// read returns the object in a JSON file of the home directory, nil without one.
func (d *discovery) read(name string) map[string]any {
	if d.Home == "" {
		return nil
	}
	path := filepath.Join(d.Home, filepath.FromSlash(name))
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var doc map[string]any
	if err := json.NewDecoder(io.LimitReader(f, maxCredentialFile)).Decode(&doc); err != nil {
		return nil
	}
	return doc
}

// expired reads a time as programs write them: Unix milliseconds or seconds, as
// a number or a string, or RFC 3339. What says nothing does not expire.
func (d *discovery) expired(v any) bool {
	switch v := v.(type) {
	case float64:
		return v > 0 && d.past(v)
	case string:
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			return n > 0 && d.past(n)
		}
		t, err := time.Parse(time.RFC3339, v)
		return err == nil && !t.After(d.Now)
	}
	return false
}

func (d *discovery) past(n float64) bool {
	// Seconds reach this number in the year 5138, milliseconds did in 1973.
	if n < 1e11 {
		n *= 1000
	}
	return int64(n) <= d.Now.UnixMilli()
}

// at returns the value at a path of names with dots between them.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func text(v any, path string) string {
	s, _ := at(v, path).(string)
	return s
}

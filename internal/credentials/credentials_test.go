package credentials

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDiscover(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	login := func(expires string) map[string]string {
		return map[string]string{".claude/.credentials.json": `{"claudeAiOauth":{"accessToken":"tok","expiresAt":` + expires + `}}`}
	}
	for name, test := range map[string]struct {
		env     []string
		files   map[string]string
		noOAuth bool
		want    string // provider:source:type:key of all, sorted
	}{
		"nothing":           {},
		"anthropic key":     {env: []string{"ANTHROPIC_API_KEY=a", "CLAUDE_API_KEY=b"}, want: "anthropic:environment:api_key:a"},
		"second key":        {env: []string{"ANTHROPIC_API_KEY=", "CLAUDE_API_KEY=b"}, want: "anthropic:environment:api_key:b"},
		"empty is none":     {env: []string{"ANTHROPIC_API_KEY=", "OPENAI_API_KEY=  "}},
		"key before token":  {env: []string{"ANTHROPIC_AUTH_TOKEN=t", "CLAUDE_API_KEY=b"}, want: "anthropic:environment:api_key:b"},
		"token":             {env: []string{"ANTHROPIC_AUTH_TOKEN=t"}, want: "anthropic:environment:oauth:t"},
		"token refused":     {env: []string{"CLAUDE_CODE_OAUTH_TOKEN=t"}, noOAuth: true},
		"openai":            {env: []string{"CODEX_API_KEY=c"}, want: "openai:environment:api_key:c"},
		"amp":               {files: map[string]string{".amp/config.json": `{"auth":{"token":"m"}}`}, want: "anthropic:amp:api_key:m"},
		"claude key":        {files: map[string]string{".claude.json": `{"primaryApiKey":"sk-ant-1"}`}, want: "anthropic:claude-code:api_key:sk-ant-1"},
		"claude other key":  {files: map[string]string{".claude.json": `{"primaryApiKey":"x","customApiKey":"sk-ant-2"}`}, want: "anthropic:claude-code:api_key:sk-ant-2"},
		"no anthropic key":  {files: map[string]string{".claude.json": `{"primaryApiKey":"sk-1"}`}},
		"env before file":   {env: []string{"ANTHROPIC_API_KEY=a"}, files: map[string]string{".claude.json": `{"apiKey":"sk-ant-1"}`}, want: "anthropic:environment:api_key:a"},
		"login":             {files: login(fmt.Sprint(future.UnixMilli())), want: "anthropic:claude-code:oauth:tok"},
		"login expired ms":  {files: login(fmt.Sprint(past.UnixMilli()))},
		"login expired s":   {files: login(fmt.Sprint(past.Unix()))},
		"login text number": {files: login(`"` + fmt.Sprint(past.UnixMilli()) + `"`)},
		"login expired":     {files: login(`"` + past.Format(time.RFC3339) + `"`)},
		"login text":        {files: login(`"` + future.Format(time.RFC3339) + `"`), want: "anthropic:claude-code:oauth:tok"},
		"login no expiry":   {files: login(`null`), want: "anthropic:claude-code:oauth:tok"},
		"login refused":     {files: login(`null`), noOAuth: true},
		"codex key":         {files: map[string]string{".codex/auth.json": `{"OPENAI_API_KEY":"k","tokens":{"access_token":"t"}}`}, want: "openai:codex:api_key:k"},
		"codex login":       {files: map[string]string{".codex/auth.json": `{"OPENAI_API_KEY":null,"tokens":{"access_token":"t"}}`}, want: "openai:codex:oauth:t"},
		"opencode": {files: map[string]string{".local/share/opencode/auth.json": `{"anthropic":{"type":"api","key":"a"},"groq":{"type":"api","key":"g"},"x":{"type":"oauth","access":"t","expires":` + fmt.Sprint(past.UnixMilli()) + `},"y":{"type":"oauth","access":"u","expires":` + fmt.Sprint(future.UnixMilli()) + `},"z":7}`},
			want: "anthropic:opencode:api_key:a groq:opencode:api_key:g y:opencode:oauth:u"},
		"rubbish": {files: map[string]string{".codex/auth.json": `[1`, ".claude.json": `"x"`, ".amp/config.json": `{"token":{}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for file, content := range test.files {
				path := filepath.Join(home, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			found := Discover(Sources{Env: test.env, Home: home, NoOAuth: test.noOAuth, Now: now})
			var got []string
			for _, provider := range found.Names() {
				c, _ := found.Provider(provider)
				got = append(got, strings.Join([]string{c.Provider, c.Source, c.AuthType, c.Key.Reveal()}, ":"))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However a secret is printed, it does not show.
func TestSecret(t *testing.T) {
	const value = "sk-abcdefghijkl1234"
	s := NewSecret(value)
	cred := Credential{Provider: "openai", Key: s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "credential", cred)
	encoded, err := json.Marshal(cred)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		s.String(), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v %#v", cred, cred), log.String(), string(encoded),
	} {
		if strings.Contains(text, "abcdefghijkl") || strings.Contains(text, fmt.Sprintf("%x", "abcdef")) {
			t.Errorf("the secret shows in %q", text)
		}
	}
	if s.Reveal() != value || s.String() != "sk-a...1234" || NewSecret("12345678").String() != "****" {
		t.Errorf("got %s and %s", s, NewSecret("12345678"))
	}
}

func TestView(t *testing.T) {
	cred := func(provider string) Credential {
		return Credential{Provider: provider, Source: "environment", AuthType: AuthAPIKey, Key: NewSecret("key-of-" + provider)}
	}
	a, o := cred("anthropic"), cred("openai")
	both := Found{Anthropic: &a, OpenAI: &o}
	other := Found{Other: map[string]Credential{"groq": cred("groq")}}
	data, err := json.Marshal(both.View(false))
	want := `{"anthropic":{"provider":"anthropic","source":"environment","auth_type":"api_key","api_key":"key-...opic","redacted":true},"openai":{"provider":"openai","source":"environment","auth_type":"api_key","api_key":"key-...enai","redacted":true},"other":{}}`
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
	data, err = json.Marshal(other.View(true))
	want = `{"anthropic":null,"openai":null,"other":{"groq":{"provider":"groq","source":"environment","auth_type":"api_key","api_key":"key-of-groq","redacted":false}}}`
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
}

// A shell that evaluates the lines runs nothing that a secret or a provider's
// name holds.
func TestShellExports(t *testing.T) {
	const evil = "a'b$(echo x)`echo y`\"\\\n;echo z"
	c := Credential{Key: NewSecret(evil)}
	found := Found{Anthropic: &c, Other: map[string]Credential{"my-groq": {Key: NewSecret("g")}, "x;echo w;y": {Key: NewSecret("h")}}}
	script := found.ShellExports() + `printf '%s|%s|%s' "$ANTHROPIC_API_KEY" "$CLAUDE_API_KEY" "$MY_GROQ_API_KEY"`
	out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
	if err != nil || string(out) != evil+"|"+evil+"|g" {
		t.Errorf("got %q, %v", out, err)
	}
	plain := Credential{Key: NewSecret("sk-ant-api03_Ab+/=.:@%,9")}
	if text := (Found{OpenAI: &plain}).ShellExports(); text != "export OPENAI_API_KEY=sk-ant-api03_Ab+/=.:@%,9\nexport CODEX_API_KEY=sk-ant-api03_Ab+/=.:@%,9\n" {
		t.Errorf("a plain secret: %s", text)
	}
}

// An environment file has the values as they are: what reads it takes quotes for a
// part of them.
func TestEnvFile(t *testing.T) {
	for name, test := range map[string]struct{ secret, text, omitted string }{
		"plain":       {"sk-1_2", "GROQ_API_KEY=sk-1_2\n", ""},
		"quotes":      {`a'b"c`, "GROQ_API_KEY=a'b\"c\n", ""},
		"blanks":      {" a $x # b ", "GROQ_API_KEY= a $x # b \n", ""},
		"equals sign": {"a==", "GROQ_API_KEY=a==\n", ""},
		"two lines":   {"a\nEVIL=1", "", "GROQ_API_KEY"},
		"carriage":    {"a\rb", "", "GROQ_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			text, omitted := Found{Other: map[string]Credential{"groq": {Key: NewSecret(test.secret)}}}.EnvFile()
			if text != test.text || strings.Join(omitted, ",") != test.omitted {
				t.Errorf("got %q, without %v", text, omitted)
			}
		})
	}
}

func FuzzExpired(f *testing.F) {
	f.Add(`1`)
	f.Add(`"2026-01-01T00:00:00Z"`)
	f.Fuzz(func(t *testing.T, raw string) {
		var v any
		if json.Unmarshal([]byte(raw), &v) == nil {
			(&discovery{Sources: Sources{Now: time.Unix(1e9, 0)}}).expired(v)
		}
	})
}

package permission_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

func TestParseRefusesUnknownMembers(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"default":"ask","rules":[{"kind":"edit","decision":"allow"}]}`: true, `{}`: true,
		`{"rules":[{"cmd":"git *","decision":"allow"}]}`: false, `{"defualt":"ask"}`: false, `{} {}`: false, `[]`: false, ``: false, `{"default":"perhaps"}`: false,
	} {
		p, err := permission.Parse([]byte(text))
		if (err == nil) != ok || ok && p.Default == nil || !ok && !errors.Is(err, api.CodeInvalidPermissionRule) {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
}

func TestCallOfDryRun(t *testing.T) {
	c, err := permission.Call(nil, "ls -l")
	if err != nil || c.Kind != acp.ToolExecute || string(c.RawInput) != `{"command":"ls -l"}` {
		t.Errorf("a command line: %+v, %v", c, err)
	}
	c, err = permission.Call(json.RawMessage(`{"kind":"edit","toolCallId":"x"}`), "")
	if err != nil || c.Kind != acp.ToolEdit || c.ID != "x" {
		t.Errorf("a call: %+v, %v", c, err)
	}
	for _, text := range []string{`7`, `[]`, `"ls"`, `null`, `{"kind":7}`} {
		if _, err := permission.Call(json.RawMessage(text), ""); !errors.Is(err, api.CodeInvalidRequest) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRuleInWords(t *testing.T) {
	for want, r := range map[string]api.PermissionRule{
		"reject commands like `rm *`":              {Command: "rm *", Decision: reject},
		"allow the command `make`, word for word":  {Kind: acp.ToolExecute, Command: "make", Decision: allow},
		"ask about every command":                  {Kind: acp.ToolExecute, Decision: ask},
		"allow every call of kind read":            {Kind: acp.ToolRead, Decision: allow},
		"allow calls of kind edit on src/**":       {Kind: acp.ToolEdit, Path: "src/**", Decision: allow},
		"reject every call on secret.txt":          {Path: "secret.txt", Decision: reject},
		"reject commands like `rm *` on secret/**": {Command: "rm *", Path: "secret/**", Decision: reject},
	} {
		if got := permission.Words(r); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

package session

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func TestRuleMatches(t *testing.T) {
	edit := acp.ToolCall{Kind: acp.ToolEdit, Title: "Edit", Locations: []acp.Location{{Path: "/w/src/a.go"}}}
	two := acp.ToolCall{Kind: acp.ToolMove, RawInput: json.RawMessage(`{"from":"src/a.go","to":"../etc/a.go"}`)}
	run := acp.ToolCall{Kind: acp.ToolExecute, RawInput: json.RawMessage(`{"command":"git status && rm -rf /"}`)}
	words := acp.ToolCall{Kind: acp.ToolExecute, RawInput: json.RawMessage(`{"command":["git","log"]}`)}
	for _, test := range []struct {
		name string
		call acp.ToolCall
		rule api.PermissionRule
		want bool
	}{
		{"everything", edit, api.PermissionRule{Decision: api.DecideAllow}, true},
		{"kind", edit, api.PermissionRule{Kind: acp.ToolEdit, Decision: api.DecideAllow}, true},
		{"other kind", edit, api.PermissionRule{Kind: acp.ToolRead, Decision: api.DecideAllow}, false},
		{"title", edit, api.PermissionRule{Title: "Edit", Decision: api.DecideAllow}, true},
		{"other title", edit, api.PermissionRule{Title: "Edi", Decision: api.DecideAllow}, false},
		{"relative path", edit, api.PermissionRule{Path: "src/**", Decision: api.DecideAllow}, true},
		{"dotted path", edit, api.PermissionRule{Path: "./src/*.go", Decision: api.DecideAllow}, true},
		{"absolute path", edit, api.PermissionRule{Path: "/w/**/*.go", Decision: api.DecideAllow}, true},
		{"other path", edit, api.PermissionRule{Path: "doc/**", Decision: api.DecideAllow}, false},
		{"path of a call without one", run, api.PermissionRule{Path: "**", Decision: api.DecideAllow}, false},
		{"one of two paths is not enough to allow", two, api.PermissionRule{Path: "src/**", Decision: api.DecideAllow}, false},
		{"but to reject", two, api.PermissionRule{Path: "src/**", Decision: api.DecideReject}, true},
		{"out of the folder", two, api.PermissionRule{Path: "/etc/**", Decision: api.DecideReject}, true},
		{"chained command", run, api.PermissionRule{Command: "git *", Decision: api.DecideAllow}, false},
		{"chained command to reject", run, api.PermissionRule{Command: "git *", Decision: api.DecideReject}, true},
		{"command of words", words, api.PermissionRule{Command: "git *", Decision: api.DecideAllow}, true},
		{"whole command", words, api.PermissionRule{Command: "git log", Decision: api.DecideAllow}, true},
		{"part of a command", words, api.PermissionRule{Command: "git", Decision: api.DecideAllow}, false},
		{"command of a call without one", edit, api.PermissionRule{Command: "*", Decision: api.DecideAllow}, false},
	} {
		if got := target(test.call, "/w").matches(test.rule); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if p := target(two, "/w").paths; len(p) != 2 || p[1] != "/etc/a.go" {
		t.Errorf("paths %v", p)
	}
}

func TestAlwaysRule(t *testing.T) {
	for _, test := range []struct {
		call, again, other acp.ToolCall
	}{
		{acp.ToolCall{Kind: "execute", Title: "run", RawInput: json.RawMessage(`{"command":"make test"}`)},
			acp.ToolCall{Kind: "execute", Title: "again", RawInput: json.RawMessage(`{"command":"make test"}`)},
			acp.ToolCall{Kind: "execute", Title: "run", RawInput: json.RawMessage(`{"command":"make all"}`)}},
		{acp.ToolCall{Kind: "execute", Title: "ls *", RawInput: json.RawMessage(`{"command":"ls *"}`)},
			acp.ToolCall{Kind: "execute", Title: "ls *"},
			acp.ToolCall{Kind: "execute", Title: "ls -la", RawInput: json.RawMessage(`{"command":"ls -la"}`)}},
		{acp.ToolCall{Kind: "edit", Title: "a"}, acp.ToolCall{Kind: "edit", Title: "b"}, acp.ToolCall{Kind: "delete", Title: "a"}},
		{acp.ToolCall{Kind: "delete", Title: "a"}, acp.ToolCall{Kind: "delete", Title: "a"}, acp.ToolCall{Kind: "delete", Title: "b"}},
	} {
		r := alwaysRule(test.call)
		if !target(test.again, "/w").matches(r) {
			t.Errorf("%+v does not allow %+v", r, test.again)
		}
		if target(test.other, "/w").matches(r) {
			t.Errorf("%+v allows %+v", r, test.other)
		}
	}
}

// FuzzMatchCommand holds the matcher to regular expressions.
func FuzzMatchCommand(f *testing.F) {
	f.Add("git *", "git status; rm", true)
	f.Add("*a*b*", "xaxbx", false)
	f.Add("a*a", "a", true)
	f.Fuzz(func(t *testing.T, pattern, command string, strict bool) {
		// The matcher is greedy from the left, which finds a match if there is one;
		// which text the stars stand for may differ, so strict is held to less.
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re, err := regexp.Compile(`(?s)\A` + strings.Join(parts, `.*`) + `\z`)
		if err != nil {
			return
		}
		want, got := re.MatchString(command), matchCommand(pattern, command, strict)
		if got && !want || !strict && got != want {
			t.Errorf("matchCommand(%q, %q, %v) = %v", pattern, command, strict, got)
		}
		if strict && got && pattern != command && !strings.ContainsAny(pattern, chaining) && strings.ContainsAny(command, chaining) {
			t.Errorf("%q allows %q", pattern, command)
		}
	})
}

func TestVirtualReply(t *testing.T) {
	for frame, want := range map[string]api.PermissionReply{
		`{"result":{"outcome":{"outcome":"selected","optionId":"x"}}}`: {OptionID: "x"},
		`{"result":{"outcome":{"outcome":"cancelled"}}}`:               {Reply: api.ReplyCancel},
		`{"result":{"outcome":{"outcome":"once"}}}`:                    {Reply: api.ReplyOnce},
		`{"result":{"outcome":{"outcome":"Approved"}}}`:                {Reply: api.ReplyOnce},
		`{"result":{"outcome":"always"}}`:                              {Reply: api.ReplyAlways},
		`{"result":{"outcome":{"outcome":"denied"}}}`:                  {Reply: api.ReplyReject},
		`{"error":{"code":1,"message":"no"}}`:                          {Reply: api.ReplyCancel},
		`{"result":7}`:                                                 {Reply: api.ReplyCancel},
	} {
		if got := virtualReply([]byte(frame)); got != want {
			t.Errorf("%s: %+v, want %+v", frame, got, want)
		}
	}
}

func TestUpdateKind(t *testing.T) {
	for frame, want := range map[string]string{
		`{"params":{"update":{"sessionUpdate":"plan","entries":[]}}}`: "plan",
		`{"params":{"update":{"sessionUpdate" : "plan"}}}`:            "", // to be decoded
		`{"params":{"update":{"sessionUpdate":"`:                      "",
		`{}`:                                                          "",
	} {
		if got := updateKind([]byte(frame)); got != want {
			t.Errorf("%s: %q, want %q", frame, got, want)
		}
	}
}

func TestSpend(t *testing.T) {
	usd := func(amount float64) acp.Cost { return acp.Cost{Amount: amount, Currency: "USD"} }
	for name, test := range map[string]struct {
		reports []acp.Cost
		want    acp.Cost
	}{
		"counts on":            {[]acp.Cost{usd(1), usd(1), usd(3)}, usd(3)},
		"counts from zero":     {[]acp.Cost{usd(2), usd(1), usd(1.5)}, usd(3.5)},
		"and does so again":    {[]acp.Cost{usd(2), usd(1), usd(0.5), usd(0.5)}, usd(3.5)},
		"in another currency":  {[]acp.Cost{usd(2), usd(1), {Amount: 9, Currency: "EUR"}}, acp.Cost{Amount: 9, Currency: "EUR"}},
		"and goes on in there": {[]acp.Cost{usd(2), {Amount: 9, Currency: "EUR"}, {Amount: 10, Currency: "EUR"}}, acp.Cost{Amount: 10, Currency: "EUR"}},
	} {
		var r record
		for _, c := range test.reports {
			r.spend(c)
		}
		if *r.Usage.Cost != test.want {
			t.Errorf("an agent that %s has spent %+v, want %+v", name, *r.Usage.Cost, test.want)
		}
	}
}

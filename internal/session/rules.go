package session

import (
	"encoding/json"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// decide applies what was allowed for good and the policy to a tool call. An
// empty decision leaves it to the client. The caller holds mu.
func (s *session) decide(call acp.ToolCall) (decision, rule string) {
	t := target(call, s.rec.CWD)
	for _, r := range s.rec.Remembered {
		if t.matches(r) {
			return r.Decision, r.ID
		}
	}
	if s.rec.Policy == nil {
		return "", ""
	}
	for _, r := range s.rec.Policy.Rules {
		if t.matches(r) {
			return r.Decision, r.ID
		}
	}
	return s.rec.Policy.Default, ""
}

// subject is what rules look at of a tool call.
type subject struct {
	kind, title, command string
	paths                []string // absolute and clean
	cwd                  string
}

// target finds out what a tool call touches, from what agents tell in different
// places.
func target(call acp.ToolCall, cwd string) subject {
	t := subject{kind: call.Kind, title: call.Title, cwd: cwd}
	add := func(p string) {
		if p == "" {
			return
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(cwd, p)
		}
		if p = filepath.Clean(p); !slices.Contains(t.paths, p) {
			t.paths = append(t.paths, p)
		}
	}
	for _, l := range call.Locations {
		add(l.Path)
	}
	var input map[string]json.RawMessage
	if json.Unmarshal(call.RawInput, &input) != nil {
		return t
	}
	for _, key := range []string{"path", "file_path", "filePath", "abs_path", "filename", "old_path", "new_path", "from", "to"} {
		var p string
		if json.Unmarshal(input[key], &p) == nil && (key != "from" && key != "to" || call.Kind == acp.ToolMove) {
			add(p)
		}
	}
	t.command = command(input["command"])
	if t.command == "" {
		t.command = command(input["cmd"])
	}
	return t
}

// command reads a command line, or a list of words.
func command(raw json.RawMessage) string {
	var line string
	var words []string
	if json.Unmarshal(raw, &line) == nil {
		return strings.TrimSpace(line)
	}
	if json.Unmarshal(raw, &words) == nil {
		return strings.Join(words, " ")
	}
	return ""
}

// matches reports whether all patterns of a rule hold. A rule that allows needs
// every path of the call in its pattern; others need one.
func (t subject) matches(r api.PermissionRule) bool {
	if r.Kind != "" && r.Kind != t.kind || r.Title != "" && r.Title != t.title {
		return false
	}
	if r.Command != "" && (t.command == "" || !matchCommand(r.Command, t.command, r.Decision == api.DecideAllow)) {
		return false
	}
	if r.Path == "" {
		return true
	}
	matched := func(p string) bool { return matchPath(r.Path, p, t.cwd) }
	if r.Decision == api.DecideAllow {
		return len(t.paths) > 0 && !slices.ContainsFunc(t.paths, func(p string) bool { return !matched(p) })
	}
	return slices.ContainsFunc(t.paths, matched)
}

func matchPath(pattern, p, cwd string) bool {
	if !filepath.IsAbs(pattern) {
		rel, err := filepath.Rel(cwd, p)
		if err != nil || !filepath.IsLocal(rel) {
			return false
		}
		p = rel
	}
	ok, err := doublestar.Match(path.Clean(filepath.ToSlash(pattern)), filepath.ToSlash(p))
	return err == nil && ok
}

// chaining are the characters by which a shell does more than one command.
const chaining = ";&|<>`$(){}\n\r"

// matchCommand matches a command with a pattern whose only sign is *. A strict
// match does not let * stand for what would run other commands too.
func matchCommand(pattern, command string, strict bool) bool {
	if pattern == command {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return false
	}
	if !strings.HasPrefix(command, parts[0]) {
		return false
	}
	rest := command[len(parts[0]):]
	last := parts[len(parts)-1]
	var stars strings.Builder
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		stars.WriteString(rest[:i])
		rest = rest[i+len(part):]
	}
	if !strings.HasSuffix(rest, last) {
		return false
	}
	stars.WriteString(rest[:len(rest)-len(last)])
	return !strict || !strings.ContainsAny(stars.String(), chaining)
}

// alwaysRule is what the reply always allows from then on: the same command
// again, any reading or editing, else the same call again.
func alwaysRule(call acp.ToolCall) api.PermissionRule {
	r := api.PermissionRule{Kind: call.Kind, Decision: api.DecideAllow}
	switch t := target(call, ""); {
	case t.command != "":
		// A star in the command would become a pattern; then the title has to do.
		if r.Command = t.command; strings.Contains(t.command, "*") {
			r.Command, r.Title = "", call.Title
		}
	case call.Kind == acp.ToolRead, call.Kind == acp.ToolEdit, call.Kind == acp.ToolSearch, call.Kind == acp.ToolThink:
	default:
		r.Title = call.Title
	}
	return r
}

// checkPolicy returns a policy ready to be kept: with a default, and with ids for
// its rules.
func checkPolicy(p *api.PermissionPolicy) (*api.PermissionPolicy, error) {
	if p == nil {
		return &api.PermissionPolicy{Default: api.DecideAsk}, nil
	}
	out := *p
	if out.Default == "" {
		out.Default = api.DecideAsk
	}
	if !decision(out.Default) {
		return nil, api.InvalidRequest(api.CodeInvalidPermissionRule, "permissions.default cannot be %q", out.Default)
	}
	out.Rules = slices.Clone(p.Rules)
	for i := range out.Rules {
		r := &out.Rules[i]
		switch {
		case !decision(r.Decision):
			return nil, api.InvalidRequest(api.CodeInvalidPermissionRule, "decision of rule %d cannot be %q", i+1, r.Decision)
		case r.Path != "" && !doublestar.ValidatePattern(r.Path):
			return nil, api.InvalidRequest(api.CodeInvalidPermissionRule, "path of rule %d is no pattern: %q", i+1, r.Path)
		}
		if r.ID == "" {
			r.ID = "rule-" + newID()
		}
	}
	return &out, nil
}

func decision(d string) bool {
	return d == api.DecideAsk || d == api.DecideAllow || d == api.DecideReject
}

// Rules returns what decides the questions of a session.
func (m *Manager) Rules(id string) (*api.PermissionRules, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &api.PermissionRules{Default: api.DecideAsk, Rules: []api.PermissionRule{}, Remembered: append([]api.PermissionRule{}, s.rec.Remembered...)}
	if p := s.rec.Policy; p != nil {
		out.Default, out.Rules = p.Default, append(out.Rules, p.Rules...)
	}
	return out, nil
}

// DeleteRule forgets a rule, so that the agent's next question is asked again.
// An empty rule id forgets all that the reply always has made.
func (m *Manager) DeleteRule(id, rule string) error {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	same := func(r api.PermissionRule) bool { return rule == "" || r.ID == rule }
	n := len(s.rec.Remembered)
	s.rec.Remembered = slices.DeleteFunc(slices.Clone(s.rec.Remembered), same)
	found := len(s.rec.Remembered) < n || rule == ""
	if p := s.rec.Policy; p != nil && !found {
		policy := *p
		policy.Rules = slices.DeleteFunc(slices.Clone(p.Rules), same)
		found = len(policy.Rules) < len(p.Rules)
		s.rec.Policy = &policy
	}
	s.mu.Unlock()
	if !found {
		return api.NotFound("permission_rule", rule)
	}
	s.changed()
	return nil
}

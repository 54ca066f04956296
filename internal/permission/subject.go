package permission

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

// subject is what rules look at of a tool call.
type subject struct {
	kind, command string
	paths         []string // absolute and clean
	cwd           string
}

// target finds out what a tool call touches, from what agents tell in different
// places.
func target(call acp.ToolCall, cwd string) subject {
	t := subject{kind: call.Kind, cwd: cwd}
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
	if r.Kind != "" && r.Kind != t.kind {
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

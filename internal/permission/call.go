package permission

import (
	"path"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// located are the kinds of call that touch a path, whether they name it or not.
var located = []string{acp.ToolRead, acp.ToolEdit, acp.ToolDelete, acp.ToolMove, acp.ToolSearch}

// read returns what a call does. The kind that the agent names is one of its
// kinds; what the call carries makes others.
func read(call acp.ToolCall, dir string) []act {
	dir = path.Clean("/" + dir)
	in := readInput(call.RawInput, dir)
	targets, diff := targetsOf(call, in, dir)
	s := &script{dir: dir}
	if in.cwd != "" {
		s.dir = newTarget(dir, in.cwd).String()
	}
	for _, c := range in.commands {
		if c.argv == nil {
			s.line(c.line)
			continue
		}
		words := make([]word, len(c.argv))
		for i, text := range c.argv {
			words[i] = literal(text)
		}
		s.command(words, lineOf(words))
	}
	if in.assigns && len(in.commands) > 0 {
		s.strange("the call", "a variable can change what its commands are")
	}
	kinds := kindsOf(call.Kind, diff || in.written && len(targets) > 0, len(in.commands) > 0)
	if slices.Contains(kinds, acp.ToolExecute) && len(in.commands) == 0 {
		s.unclear("a command", "the call does not carry it")
	}
	for i := range s.acts {
		if s.acts[i].command {
			s.acts[i].mentions = append(s.acts[i].mentions, targets...)
		}
	}
	for _, kind := range kinds {
		if kind != acp.ToolExecute {
			s.paths(kind, targets)
		}
	}
	for _, why := range in.unclear {
		s.unclear("the call", why)
	}
	return s.acts
}

// kindsOf returns what a call is: what the agent calls it, and what it carries.
func kindsOf(said string, writes, runs bool) []string {
	var kinds []string
	add := func(kind string) {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if runs {
		add(acp.ToolExecute)
	}
	if writes {
		add(acp.ToolEdit)
	}
	switch {
	case slices.Contains(api.PermissionKinds, said):
		add(said)
	case said != "" || len(kinds) == 0:
		add(acp.ToolOther)
	}
	return kinds
}

// paths adds the acts of a kind on paths.
func (s *script) paths(kind string, targets []*target) {
	for _, t := range targets {
		a := act{kind: kind, path: t, text: kind + " " + abridge(t.raw), unclear: t.unclear}
		s.acts = append(s.acts, a)
		if fileForm(t.raw) && kind != acp.ToolRead && kind != acp.ToolEdit {
			a.kind = acp.ToolRead // whatever the tool is, it opens a file
			s.acts = append(s.acts, a)
		}
	}
	if len(targets) == 0 {
		s.acts = append(s.acts, act{kind: kind, text: kind, anywhere: slices.Contains(located, kind)})
	}
}

func fileForm(raw string) bool { return len(raw) >= 5 && (raw[:5] == "file:" || raw[:5] == "FILE:") }

// targetsOf returns all paths that a call names; diff reports whether it shows a
// change to one.
func targetsOf(call acp.ToolCall, in input, dir string) (targets []*target, diff bool) {
	var seen []string
	add := func(p string) {
		if slices.Contains(seen, p) {
			return
		}
		seen = append(seen, p)
		t := newTarget(dir, p)
		if in.cwd != "" && !path.IsAbs(p) && p != in.cwd {
			t.add(newTarget(dir, in.cwd).String(), p)
		}
		targets = append(targets, t)
	}
	for _, l := range call.Locations {
		add(l.Path)
	}
	for _, c := range call.Content {
		if c.Type == acp.ToolContentDiff || c.Path != "" {
			diff = true
			add(c.Path)
		}
	}
	for _, p := range in.paths {
		add(p)
	}
	return targets, diff
}

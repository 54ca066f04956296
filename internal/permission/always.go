package permission

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Always returns what the reply always to a call would remember, the narrowest
// first; or why the reply is not available. What it offers does allow the same
// call from then on.
func (j Judge) Always(call acp.ToolCall) (choices []api.PermissionAlways, why string) {
	acts := read(call, j.Dir)
	if v := j.judge(acts); v.Rule != nil && v.Rule.Decision != api.DecideAllow {
		return nil, "a rule decides about it each time: " + v.Reason
	}
	if i := slices.IndexFunc(acts, func(a act) bool { return a.unclear != "" }); i >= 0 {
		return nil, "it is not understood what " + acts[i].text + " does, as " + acts[i].unclear
	}
	for _, a := range acts {
		for _, t := range append(slices.Clip(a.mentions), a.path) {
			if t != nil && t.protected() != "" {
				return nil, t.raw + " is protected: " + t.protected()
			}
		}
	}
	if slices.ContainsFunc(acts, func(a act) bool { return a.command }) {
		choices, why = alwaysCommand(call, acts, j.Dir)
	} else {
		choices, why = alwaysPath(acts, j.Dir)
	}
	choices = slices.DeleteFunc(choices, func(c api.PermissionAlways) bool {
		then := j
		then.Remembered = append(slices.Clip(j.Remembered), c.Rule)
		return then.judge(acts).Decision != api.DecideAllow
	})
	if len(choices) == 0 && why == "" {
		why = "no rule could allow it the next time"
	}
	return choices, why
}

// alwaysCommand remembers the commands of a call, word for word.
func alwaysCommand(call acp.ToolCall, acts []act, dir string) ([]api.PermissionAlways, string) {
	in := readInput(call.RawInput, dir)
	if in.cwd != "" && newTarget(dir, in.cwd).String() != newTarget(dir, dir).String() {
		return nil, "it runs in another directory than that of the session"
	}
	if len(in.commands) != 1 {
		return nil, "it carries more than one command line"
	}
	var steps []step
	for _, a := range acts {
		switch {
		case a.named || a.inner:
			continue // what runs it is looked at below
		case !a.command:
			return nil, "it does more than run a command: " + a.text
		case a.steps != nil:
			steps = a.steps
		case in.commands[0].argv != nil:
			steps = []step{{words: a.words}}
		}
	}
	if steps == nil {
		return nil, "it is more than plain commands one after the other"
	}
	for _, s := range steps {
		if slices.ContainsFunc(s.words, func(w word) bool { return !w.known }) {
			return nil, "the shell expands something in it"
		}
		name := path.Base(s.words[0].text)
		if _, ok := wrappers[name]; ok {
			return nil, name + " runs one command by another"
		}
		if runsCode(s.words) {
			return nil, "it holds code for " + name
		}
	}
	rule := api.PermissionRule{Kind: acp.ToolExecute, Command: exactPattern(steps), Decision: api.DecideAllow}
	return []api.PermissionAlways{{Scope: api.AlwaysExact, Rule: rule,
		Text: "run `" + rule.Command + "` again, every word equal"}}, ""
}

// interpreters take code in their arguments.
var interpreters = regexp.MustCompile(`^(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|expect|osascript|r|rscript|julia|guile|racket|sbcl|ghc|runghc|scala|groovy|jshell|irb|elixir|erl|awk|gawk|mawk|nawk|sed|gsed|jq|ed|ex|vi|vim|nvim|emacs|make|gmake|psql|mysql|sqlite3|gdb|ssh|docker|podman|kubectl|tsx|npx|ts-node|find|git)[0-9.]*$`)

// codeOption introduces code in the arguments of an interpreter.
var codeOption = regexp.MustCompile(`^(-[a-zA-Z]*[ceErpi]|--(eval|exec|execute|command|print|code|eval-file|rsh)(=.*)?|-exec(dir)?|-ok(dir)?|eval)$`)

// runsCode reports whether the words of a command hold code.
func runsCode(words []word) bool {
	name := strings.ToLower(path.Base(words[0].text))
	if _, ok := shells[name]; ok {
		return len(words) > 1 && slices.ContainsFunc(words[1:], func(w word) bool { return strings.HasPrefix(w.text, "-") && strings.Contains(w.text, "c") })
	}
	if !interpreters.MatchString(name) {
		return false
	}
	switch strings.TrimRight(name, "0123456789.") {
	case "awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "ssh":
		return len(words) > 1
	}
	return slices.ContainsFunc(words[1:], func(w word) bool { return codeOption.MatchString(w.text) })
}

// alwaysPath remembers the paths of a call; for one file that is read or changed,
// also the files in its directory.
func alwaysPath(acts []act, dir string) ([]api.PermissionAlways, string) {
	var kinds, forms []string
	for _, a := range acts {
		if a.path == nil {
			return nil, "it names no file that a rule could remember"
		}
		if !slices.Contains(kinds, a.kind) {
			kinds = append(kinds, a.kind)
		}
		for _, p := range a.path.forms {
			if !slices.Contains(forms, p) {
				forms = append(forms, p)
			}
		}
	}
	rule := api.PermissionRule{Decision: api.DecideAllow}
	if len(kinds) == 1 {
		rule.Kind = kinds[0]
	}
	does := strings.Join(kinds, " and ")
	exact, below := rule, rule
	var text string
	exact.Path, text = patternOfPaths(forms, "", dir)
	choices := []api.PermissionAlways{{Scope: api.AlwaysExact, Text: does + " " + text + " again", Rule: exact}}
	var dirs []string
	for _, p := range forms {
		if d := path.Dir(p); !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	if len(kinds) == 1 && (kinds[0] == acp.ToolRead || kinds[0] == acp.ToolEdit) && !slices.Contains(dirs, "/") {
		below.Path, text = patternOfPaths(dirs, "/*", dir)
		choices = append(choices, api.PermissionAlways{Scope: api.AlwaysDirectory, Text: does + " files in this directory: " + text + ", not below it", Rule: below})
	}
	return choices, ""
}

// patternOfPaths writes a pattern for paths with something after each, and the
// paths for people: relative to the working directory where they are below it.
func patternOfPaths(paths []string, suffix, dir string) (pattern, text string) {
	real, err := resolve(dir, true)
	if err != nil {
		real = dir
	}
	var patterns, texts []string
	for _, p := range paths {
		name, part := p, escape(p)+suffix
		if below, err := filepath.Rel(real, p); err == nil && filepath.IsLocal(below) {
			if name, part = below, escape(below)+suffix; below == "." {
				part = strings.TrimPrefix(suffix, "/")
			}
		}
		texts, patterns = append(texts, name), append(patterns, part)
	}
	if len(patterns) == 1 {
		return patterns[0], texts[0]
	}
	return "{" + strings.Join(patterns, ",") + "}", strings.Join(texts, ", ")
}

package fakeagent

import (
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
)

// A job is a change a text asks for.
type job struct {
	verb    verb
	path    string // the file; may be outside the working directory, which is refused later
	to      string // rename: the new name
	content string // write, append
	keep    bool   // write: what an existing file has stays, the content goes to its end
	old     string // replace
	new     string // replace
	command string // run
}

type verb int

const (
	write verb = iota
	appendTo
	remove
	rename
	replace
	run
	add // write, or append when the text says where to
)

var verbs = map[string]verb{
	"write": write, "create": write, "add": add, "make": write, "put": write, "save": write, "touch": write, "generate": write,
	"append": appendTo,
	"delete": remove, "remove": remove, "erase": remove, "rm": remove,
	"rename": rename, "move": rename, "mv": rename,
	"edit": replace, "replace": replace, "change": replace, "update": replace, "modify": replace, "fix": replace,
	"run": run, "execute": run,
}

const filePattern = "`[^`\n]+`|\"[^\"\n]+\\.\\w+\"|'[^'\n]+\\.\\w+'|[\\pL\\pN_./@+-]*[\\pL\\pN_]\\.[A-Za-z0-9]{1,8}\\b|(?i:\\b(?:readme|license|changelog|makefile|dockerfile)\\b)"

var (
	politeness = lazyregexp.New(`(?i)^(?:please|kindly|now|then|just|ok|okay|hey|hi|can you|could you|would you|will you|i want you to|i would like you to|i'd like you to|go and|let's)[\s,!:]+`)
	file       = lazyregexp.New(filePattern)
	named      = lazyregexp.New("(?i)\\b(?:called|named|file)\\s+(`[^`]+`|\"[^\"]+\"|'[^']+'|[\\pL\\pN_./@+-]+)")
	saying     = lazyregexp.New(`(?i)(?:\b(?:that|which)\s+(?:says|contains|reads)|\bsaying|\bsays|\bcontaining|\bcontains|\breading|\bwith\s+(?:the\s+)?(?:text|content|contents|line|words?)|\bwith)\b\s*:?\s*`)
	into       = lazyregexp.New(`(?is)^\s*(.+?)\s+(?:in|into|to|onto|as|at the end of)\s+(?:(?:the|a|an|new|file|called|named)\s+)*(?:` + filePattern + `)`)
	swap       = lazyregexp.New("(?is)(?:\\bin\\s+(?:the\\s+)?(?:file\\s+)?(?P<f1>" + filePattern + ")[,:]?\\s+)?(?:replace|change|replacing|changing)\\s+(?:the\\s+(?:word|text|line)\\s+)?(?P<a>`[^`]+`|\"[^\"]+\"|'[^']+'|.+?)\\s+(?:with|to|by|into)\\s+(?P<b>`[^`]*`|\"[^\"]*\"|'[^']*'|.+?)(?:\\s+(?:in|of|inside)\\s+(?:the\\s+)?(?:file\\s+)?(?P<f2>" + filePattern + "))?[.\\s]*$")
	vessel     = lazyregexp.New(`(?i)^(?:(?:the|a|an|new)\s+)*(?:line|file|text|note|entry|section|paragraph|sentence|word)\s*$`)
	arrow      = lazyregexp.New(`(?i)\s+(?:to|as|into|->)\s+`)
)

// parseJob finds the change a text asks for. The text must begin with a verb of
// change, politeness aside, and name enough to act on; all else is plain talk,
// for which a client without a permission handler must never be asked.
func parseJob(text string) (job, bool) {
	text = strings.TrimSpace(text)
	for {
		shorter := politeness().ReplaceAllString(text, "")
		if shorter == text {
			break
		}
		text = shorter
	}
	word, rest, _ := strings.Cut(text, " ")
	v, ok := verbs[strings.ToLower(strings.TrimRight(word, ":,"))]
	rest = strings.TrimSpace(rest)
	if !ok || rest == "" {
		return job{}, false
	}
	switch v {
	case run:
		return parseRun(rest)
	case rename:
		return parseRename(rest)
	case replace:
		return parseReplace(text)
	case remove:
		path, ok := findFile(rest)
		return job{verb: remove, path: path}, ok
	}
	return parseWrite(v, rest)
}

func parseRun(rest string) (job, bool) {
	if i := strings.IndexByte(rest, '`'); i >= 0 {
		if j := strings.IndexByte(rest[i+1:], '`'); j > 0 {
			return job{verb: run, command: rest[i+1 : i+1+j]}, true
		}
	}
	lower := strings.ToLower(rest)
	for _, lead := range []string{"the command ", "command ", "the shell command "} {
		if strings.HasPrefix(lower, lead) {
			rest = rest[len(lead):]
			return job{verb: run, command: unquote(strings.TrimPrefix(rest, ": "))}, true
		}
	}
	first, _, _ := strings.Cut(lower, " ")
	switch first {
	case "the", "a", "an", "all", "my", "this", "it", "that", "some":
		return job{}, false
	}
	return job{verb: run, command: unquote(rest)}, true
}

func parseRename(rest string) (job, bool) {
	parts := arrow().Split(rest, 2)
	if len(parts) != 2 {
		return job{}, false
	}
	from, ok := findFile(parts[0])
	if !ok {
		return job{}, false
	}
	to, ok := findFile(parts[1])
	if !ok {
		to = unquote(strings.TrimRight(parts[1], ". "))
	}
	return job{verb: rename, path: from, to: to}, to != "" && !strings.ContainsAny(to, " \n")
}

// parseReplace reads "replace A with B in F" and its relations.
func parseReplace(text string) (job, bool) {
	m := swap().FindStringSubmatch(text)
	if m == nil {
		return job{}, false
	}
	part := func(name string) string { return m[swap().SubexpIndex(name)] }
	path := fileName(part("f1") + part("f2"))
	if path == "" {
		before, _, _ := strings.Cut(text, m[0])
		if i := strings.Index(strings.ToLower(text), "replac"); before == "" && i > 0 {
			before = text[:i]
		}
		path, _ = findFile(before)
	}
	old := unquote(part("a"))
	return job{verb: replace, path: path, old: old, new: unquote(part("b"))}, path != "" && old != ""
}

// parseWrite reads "README that says X", "F with X", "X to F" and "a file called F".
func parseWrite(v verb, rest string) (job, bool) {
	if v != add {
		return parseWriteAs(v, v, rest)
	}
	j, ok := parseWriteAs(write, appendTo, rest)
	j.keep = j.verb == write // who adds something does not want to lose what is there
	return j, ok
}

// parseWriteAs reads it as v, and as toEnd where the text says into which file.
func parseWriteAs(v, toEnd verb, rest string) (job, bool) {
	mark := saying().FindStringIndex(rest)
	head, content, said := rest, "", false
	if mark != nil {
		if path, ok := findFile(rest[:mark[0]]); ok {
			return job{verb: v, path: path, content: textOf(rest[mark[1]:])}, true
		}
		head, content, said = rest[:mark[0]], rest[mark[1]:], true
	}
	if m := into().FindStringSubmatchIndex(rest); m != nil {
		path, _ := findFile(rest[m[3]:])
		body := rest[m[2]:m[3]]
		if inner := saying().FindStringIndex(body); inner != nil && vessel().MatchString(body[:inner[0]]) {
			body = body[inner[1]:]
		}
		return job{verb: toEnd, path: path, content: textOf(trimWords(body, "the", "text", "line", "word"))}, path != ""
	}
	path, ok := findFile(head)
	if ok {
		if i := strings.Index(rest, path); i >= 0 {
			if _, after, found := strings.Cut(rest[i:], ":"); found {
				return job{verb: v, path: path, content: textOf(after)}, true
			}
		}
		return job{verb: v, path: path, content: heading(path)}, v == write
	}
	if said && strings.Contains(strings.ToLower(head), "file") {
		return job{verb: v, path: "notes.txt", content: textOf(content)}, true
	}
	return job{}, false
}

// heading is the content of a file of which only the name is known.
func heading(path string) string {
	if base := filepath.Base(path); strings.EqualFold(filepath.Ext(base), ".md") {
		return "# " + strings.TrimSuffix(base, filepath.Ext(base)) + "\n"
	}
	return ""
}

func findFile(text string) (string, bool) {
	if m := named().FindStringSubmatch(text); m != nil {
		switch name := strings.TrimRight(unquote(m[1]), "."); name {
		case "called", "named", "with", "that", "to", "in", "":
		default:
			return fileName(name), true
		}
	}
	name := fileName(file().FindString(text))
	return name, name != ""
}

// fileName completes the names people use without their suffix.
func fileName(name string) string {
	name = unquote(name)
	switch lower := strings.ToLower(name); lower {
	case "readme", "changelog":
		return strings.ToUpper(name) + ".md"
	case "license":
		return "LICENSE"
	case "makefile", "dockerfile":
		return strings.ToUpper(lower[:1]) + lower[1:]
	}
	return name
}

// textOf is what a file gets: without quotes, with a line end.
func textOf(text string) string {
	text = unquote(strings.TrimSpace(text))
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

func unquote(text string) string {
	text = strings.TrimSpace(text)
	trimmed := strings.TrimRight(text, ".!")
	for _, t := range []string{text, trimmed} {
		if n := len(t); n >= 2 && t[0] == t[n-1] && strings.ContainsRune("`\"'", rune(t[0])) && !strings.Contains(t[1:n-1], t[:1]) {
			return t[1 : n-1]
		}
	}
	return text
}

func trimWords(text string, words ...string) string {
	for _, w := range words {
		if rest, ok := strings.CutPrefix(text, w+" "); ok {
			text = rest
		}
	}
	return text
}

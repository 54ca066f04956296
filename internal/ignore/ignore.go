// Package ignore reads the files that say what of a tree is left out, in the form of
// [gitignore(5)].
//
// [gitignore(5)]: https://git-scm.com/docs/gitignore
package ignore

import (
	"bytes"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Rules decide what the ignore files of a directory and of those above it leave
// out. A nil *Rules leaves out nothing. Rules do not change, and may be used from
// several goroutines.
type Rules struct {
	up    *Rules
	dir   string // with a slash at its end, or empty for the top
	rules []rule
}

type rule struct {
	pattern string
	literal bool // no magic in pattern
	negate  bool
	dirOnly bool
	whole   bool // matched against the path below the directory, not the name alone
}

// New returns the rules that hold in the directory dir below up. Each text is the
// content of an ignore file of dir; a later one outranks an earlier one. Paths are
// given to [Rules.Ignored] as dir is given here: absolute, or relative to a top
// whose name is empty.
func New(up *Rules, dir string, texts ...[]byte) *Rules {
	var rules []rule
	for _, text := range texts {
		rules = append(rules, parse(text)...)
	}
	if len(rules) == 0 {
		return up
	}
	if dir != "" && !strings.HasSuffix(dir, "/") {
		dir += "/"
	}
	return &Rules{up: up, dir: dir, rules: rules}
}

// Ignored reports whether path, which lies below the directories of r, is left out.
// The last rule that matches decides, those of inner directories first. Whether a
// directory above path is left out is for the caller to check: what lies below it
// is left out as well.
func (r *Rules) Ignored(path string, isDir bool) bool {
	for ; r != nil; r = r.up {
		rel, ok := strings.CutPrefix(path, r.dir)
		if !ok {
			continue
		}
		for i := len(r.rules) - 1; i >= 0; i-- {
			if r.rules[i].match(rel, isDir) {
				return !r.rules[i].negate
			}
		}
	}
	return false
}

func (r rule) match(rel string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if !r.whole {
		rel = rel[strings.LastIndexByte(rel, '/')+1:]
	}
	if r.literal {
		return rel == r.pattern
	}
	return doublestar.MatchUnvalidated(r.pattern, rel)
}

// parse reads the rules of one file. Lines that are not patterns are skipped.
func parse(data []byte) []rule {
	var rules []rule
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := range strings.SplitSeq(string(data), "\n") {
		if r, ok := parseLine(strings.TrimSuffix(line, "\r")); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func parseLine(line string) (r rule, ok bool) {
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if line == "" || line[0] == '#' {
		return r, false
	}
	if line[0] == '!' {
		r.negate = true
		line = line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirOnly = true
		line = line[:len(line)-1]
	}
	r.whole = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return r, false
	}
	if strings.HasSuffix(line, "/**") {
		line += "/*" // all below the directory, but not the directory itself
	}
	r.literal = !strings.ContainsAny(line, `*?[\`)
	r.pattern = line
	if !r.literal {
		r.pattern = escapeBraces(line)
		return r, doublestar.ValidatePattern(r.pattern)
	}
	return r, true
}

// escapeBraces makes braces ordinary: they are special to doublestar, and not to
// git.
func escapeBraces(s string) string {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			b.WriteByte(c)
			i++
		case c == '[':
			inClass = true
		case c == ']':
			inClass = false
		case (c == '{' || c == '}') && !inClass:
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

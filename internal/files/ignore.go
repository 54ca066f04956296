package files

import (
	"bytes"
	"os"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// ignoreNames are the files that say what a search leaves out; in one folder
// the later wins.
var ignoreNames = []string{".gitignore", ".ignore"}

// maxIgnoreBytes bounds an ignore file; what is beyond is not read.
const maxIgnoreBytes = 1 << 20

// ignorer decides what the ignore files of a folder and those above it leave
// out. A nil ignorer leaves out nothing.
type ignorer struct {
	up    *ignorer
	dir   string // with a slash at its end
	rules []ignoreRule
}

type ignoreRule struct {
	pattern string
	literal bool // no magic in pattern
	negate  bool
	dirOnly bool
	whole   bool // matched against the path below the folder, not the name alone
}

// ignored reports whether path, which lies below the folders of ig, is left
// out. The last rule that matches decides, those of inner folders first. That
// a folder above is left out is for the caller to see: it does not go there.
func (ig *ignorer) ignored(path string, isDir bool) bool {
	for ; ig != nil; ig = ig.up {
		rel, ok := strings.CutPrefix(path, ig.dir)
		if !ok {
			continue
		}
		for i := len(ig.rules) - 1; i >= 0; i-- {
			if ig.rules[i].match(rel, isDir) {
				return !ig.rules[i].negate
			}
		}
	}
	return false
}

func (r ignoreRule) match(rel string, isDir bool) bool {
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

// parseIgnore reads rules in the form of gitignore(5). Lines that are no
// pattern are left out.
func parseIgnore(data []byte) []ignoreRule {
	var rules []ignoreRule
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for line := range strings.SplitSeq(string(data), "\n") {
		if r, ok := parseIgnoreLine(strings.TrimSuffix(line, "\r")); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func parseIgnoreLine(line string) (r ignoreRule, ok bool) {
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
		line += "/*" // all below the folder, but not the folder
	}
	r.literal = !strings.ContainsAny(line, `*?[\`)
	r.pattern = line
	if !r.literal {
		r.pattern = escapeBraces(line)
		return r, doublestar.ValidatePattern(r.pattern)
	}
	return r, true
}

// escapeBraces makes braces ordinary, which git does not know and doublestar
// does.
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

// readIgnore returns the ignorer for the folder dir below up. names are the
// names in dir.
func readIgnore(up *ignorer, dir string, has func(name string) bool) *ignorer {
	var rules []ignoreRule
	for _, name := range ignoreNames {
		if !has(name) {
			continue
		}
		data, err := readHead(join(dir, name), maxIgnoreBytes)
		if err == nil {
			rules = append(rules, parseIgnore(data)...)
		}
	}
	if len(rules) == 0 {
		return up
	}
	return &ignorer{up: up, dir: join(dir, ""), rules: rules}
}

// ignoreAbove returns the rules that hold in dir because of the folders above,
// up to the top of its repository. Outside of a repository there are none.
func ignoreAbove(dir string) *ignorer {
	var dirs []string
	for d := dir; ; d = parent(d) {
		dirs = append(dirs, d)
		if _, err := os.Lstat(join(d, ".git")); err == nil {
			break
		}
		if d == "/" || d == "" {
			return nil
		}
	}
	var ig *ignorer
	for i := len(dirs) - 1; i > 0; i-- {
		ig = readIgnore(ig, dirs[i], func(string) bool { return true })
	}
	return ig
}

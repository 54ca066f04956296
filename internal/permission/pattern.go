package permission

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A pattern is what a rule says of a command: the words of one simple command, or
// of several with the operators between them. Its only sign is an unquoted *: one
// that stands alone matches any number of words, also none; one inside a word
// matches any text in that word.
type pattern struct {
	steps []patternStep
}

type patternStep struct {
	op    string // between this command and the one before: && || | ; or empty
	words []patternWord
}

// A patternWord is the text around the stars of a word; a lone star is two empty
// texts.
type patternWord []string

func (w patternWord) lone() bool { return len(w) == 2 && w[0] == "" && w[1] == "" }

// A step is one simple command of a plain line: one without anything but simple
// commands, && || | and ;.
type step struct {
	op    string
	words []word
}

// parsePattern reads the command of a rule.
func parsePattern(command string) (*pattern, error) {
	if why := unreadable(command); why != "" {
		return nil, errors.New(why)
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(command), "")
	if err == nil {
		if list, ok := plainSteps(file.Stmts); ok {
			return patternOf(list)
		}
	}
	// A keyword such as time is a word of a pattern like any other.
	var words []*syntax.Word
	for w, err := range syntax.NewParser(syntax.Variant(syntax.LangBash)).WordsSeq(strings.NewReader(command)) {
		if err != nil {
			return nil, errors.New("it is neither one command nor a plain list of them")
		}
		words = append(words, w)
	}
	if len(words) > 0 && assignment.MatchString(source(words[0])) {
		return nil, errors.New("it begins with an assignment, which is never understood")
	}
	return patternOf([]plainStep{{args: words}})
}

func patternOf(list []plainStep) (*pattern, error) {
	var p pattern
	for _, s := range list {
		step := patternStep{op: s.op}
		for _, arg := range s.args {
			w, ok := wordPattern(arg)
			if !ok {
				return nil, errors.New("the shell would expand something in it: " + source(arg))
			}
			step.words = append(step.words, w)
		}
		p.steps = append(p.steps, step)
	}
	if len(p.steps) == 0 {
		return nil, errors.New("it names no command")
	}
	return &p, nil
}

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\+?=`)

// plainStep is a step before its words are looked at.
type plainStep struct {
	op   string
	args []*syntax.Word
}

// plainSteps returns the simple commands of statements that are a plain line.
func plainSteps(stmts []*syntax.Stmt) ([]plainStep, bool) {
	var list []plainStep
	var add func(s *syntax.Stmt, op string) bool
	add = func(s *syntax.Stmt, op string) bool {
		if s.Negated || s.Background || s.Coprocess || s.Disown || len(s.Redirs) > 0 {
			return false
		}
		switch cmd := s.Cmd.(type) {
		case *syntax.CallExpr:
			list = append(list, plainStep{op, cmd.Args})
			return len(cmd.Assigns) == 0
		case *syntax.BinaryCmd:
			return cmd.Op != syntax.PipeAll && add(cmd.X, op) && add(cmd.Y, cmd.Op.String())
		}
		return false
	}
	for i, s := range stmts {
		op := ";"
		if i == 0 {
			op = ""
		}
		if !add(s, op) {
			return nil, false
		}
	}
	return list, true
}

// wordPattern reads one word of a pattern; ok is false when it holds an expansion.
func wordPattern(arg *syntax.Word) (patternWord, bool) {
	w := patternWord{""}
	last := func(s string) { w[len(w)-1] += s }
	for _, part := range arg.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			for i := 0; i < len(part.Value); i++ {
				switch c := part.Value[i]; {
				case c == '\\' && i+1 < len(part.Value):
					i++
					last(part.Value[i : i+1])
				case c == '*':
					w = append(w, "")
				default:
					last(part.Value[i : i+1])
				}
			}
		case *syntax.SglQuoted:
			if part.Dollar {
				return nil, false
			}
			last(part.Value)
		case *syntax.DblQuoted:
			text, known := quoted(part)
			if !known {
				return nil, false
			}
			last(text)
		default:
			return nil, false
		}
	}
	return w, true
}

// allows reports whether a pattern covers a command: the words as they are
// written, and for a pattern of several commands all of a plain line.
func (p *pattern) allows(a *act) match {
	switch {
	case p == nil || a.words == nil:
		return no
	case len(p.steps) == 1:
		return matchWords(p.steps[0].words, a.words)
	case len(p.steps) != len(a.steps):
		return no
	}
	return p.window(a.steps, matchWords)
}

// matches reports whether a pattern matches a command, or part of the plain line
// that it stands in, whatever directory its programs are called from.
func (p *pattern) matches(a *act) match {
	if p == nil || a.words == nil {
		return maybe
	}
	if len(p.steps) == 1 {
		return matchProgram(p.steps[0].words, a.words, a.names...)
	}
	found := no
	byBase := func(p []patternWord, words []word) match { return matchProgram(p, words, baseName(words)...) }
	for i := 0; i+len(p.steps) <= len(a.steps); i++ {
		found = max(found, p.window(a.steps[i:i+len(p.steps)], byBase))
	}
	return found
}

// window matches all steps of a pattern with as many commands.
func (p *pattern) window(steps []step, match func([]patternWord, []word) match) match {
	found := yes
	for i, s := range p.steps {
		if i > 0 && s.op != steps[i].op {
			return no
		}
		found = min(found, match(s.words, steps[i].words))
	}
	return found
}

// matchProgram matches words whose program has other names too. The directory of
// a program does not count, neither in the pattern nor in the command.
func matchProgram(p []patternWord, words []word, names ...string) match {
	found := matchWords(p, words)
	if len(words) == 0 || !words[0].known {
		return found
	}
	heads := []patternWord{p[0]}
	if len(p[0]) == 1 && strings.Contains(p[0][0], "/") {
		heads = append(heads, patternWord{path.Base(p[0][0])})
	}
	for _, head := range heads {
		for _, name := range append(names, words[0].text) {
			found = max(found, matchWords(slices.Concat([]patternWord{head}, p[1:]), slices.Concat([]word{literal(name)}, words[1:])))
		}
	}
	return found
}

// baseName is the name of a program that is called by its path.
func baseName(words []word) []string {
	if len(words) == 0 || !words[0].known || !strings.Contains(words[0].text, "/") {
		return nil
	}
	return []string{path.Base(words[0].text)}
}

// matchWords matches a list of words: yes when it matches whatever the shell
// expands, maybe when that depends.
func matchWords(p []patternWord, words []word) match {
	row := make([]match, len(words)+1) // of the rest of the pattern, by the first word left
	row[len(words)] = yes
	for j := len(words) - 1; j >= 0 && words[j].many; j-- {
		row[j] = maybe
	}
	for i := len(p) - 1; i >= 0; i-- {
		next := make([]match, len(words)+1)
		for j := len(words); j >= 0; j-- {
			switch {
			case p[i].lone():
				if next[j] = row[j]; j < len(words) {
					next[j] = max(next[j], next[j+1])
				}
			case j == len(words):
			case words[j].many:
				next[j] = min(maybe, max(row[j], row[j+1], next[j+1]))
			case !words[j].known:
				next[j] = min(maybe, row[j+1])
			case p[i].matches(words[j].text):
				next[j] = row[j+1]
			}
		}
		row = next
	}
	return row[0]
}

// matches matches one word.
func (w patternWord) matches(text string) bool {
	if len(w) == 1 {
		return w[0] == text
	}
	rest, ok := strings.CutPrefix(text, w[0])
	last := w[len(w)-1]
	if !ok || !strings.HasSuffix(rest, last) || len(rest) < len(last) {
		return false
	}
	rest = rest[:len(rest)-len(last)]
	for _, part := range w[1 : len(w)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return true
}

// exactPattern writes a pattern that matches these commands, word for word.
func exactPattern(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch {
		case i == 0:
		case s.op == ";":
			b.WriteString("; ")
		default:
			b.WriteString(" " + s.op + " ")
		}
		b.WriteString(lineOf(s.words))
	}
	return b.String()
}

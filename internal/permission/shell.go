package permission

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"

	"github.com/sandboxagent/sandboxagent/acp"
)

// The parser and the judge recurse as deep as a line nests.
const (
	maxLine  = 64 << 10
	maxDepth = 8 // lines within lines, as in sh -c
	maxActs  = 2000
	maxWords = 1000 // of one command
)

// A script collects the acts of what a shell or the kernel is given to run.
type script struct {
	dir   string // where it runs
	depth int    // of lines within lines
	inner bool   // it stands behind a wrapper
	moves bool   // it changes its directory, so that relative paths in it are not known
	full  bool   // it holds more than is judged
	steps []step // where it is a plain line
	acts  []act
}

// line adds the acts of a line. It is read as bash has it, and once more as a
// plain POSIX shell has it, since what a bash keyword is may be a command to dash.
func (s *script) line(text string) {
	if why := unreadable(text); why != "" {
		s.unclear(text, why)
		return
	}
	if s.depth >= maxDepth {
		s.unclear(text, "its lines nest too deep")
		return
	}
	s.depth++
	defer func() { s.depth-- }()
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		s.unclear(text, "it is not a line that a shell reads: "+strings.TrimPrefix(err.Error(), ":"))
	}
	first := len(s.acts)
	s.statements(file.Stmts)
	var posix []*syntax.Stmt
	for stmt, err := range syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).StmtsSeq(strings.NewReader(text)) {
		if err == nil && stmt != nil {
			posix = append(posix, stmt)
		}
	}
	s.statements(posix)
	if !slices.ContainsFunc(s.acts[first:], func(a act) bool { return a.kind == acp.ToolExecute }) {
		s.acts = append(s.acts, act{kind: acp.ToolExecute, command: true, words: []word{}, text: "a line without a command", inner: s.inner})
	}
}

// statements adds the acts of statements of one line.
func (s *script) statements(stmts []*syntax.Stmt) {
	outer, moves := s.steps, s.moves
	defer func() { s.steps, s.moves = outer, moves }()
	s.steps = nil
	if list, ok := plainSteps(stmts); ok {
		for _, step := range list {
			s.steps = append(s.steps, stepOf(step))
		}
	}
	for _, stmt := range stmts {
		for node := range syntax.Preorder(stmt) {
			if call, ok := node.(*syntax.CallExpr); ok && movesAway(evaluate(call.Args)) {
				s.moves = true
			}
		}
	}
	for _, stmt := range stmts {
		for node := range syntax.Preorder(stmt) {
			s.node(node)
		}
	}
}

func stepOf(p plainStep) step { return step{p.op, evaluate(p.args)} }

// movesAway reports whether a command changes the working directory of its shell.
func movesAway(words []word) bool {
	for _, w := range words {
		switch w.text {
		case "cd", "pushd", "popd", "chdir":
			return true
		case "command", "builtin":
		default:
			return false
		}
	}
	return false
}

// node adds the acts of one node; those below it are visited by themselves.
func (s *script) node(node syntax.Node) {
	switch node := node.(type) {
	case *syntax.Stmt:
		s.redirects(node)
		s.stdin(node)
	case *syntax.CallExpr:
		s.call(node)
	case *syntax.TimeClause:
		s.keyword("time", node)
	case *syntax.CoprocClause:
		s.keyword("coproc", node)
	case *syntax.FuncDecl:
		s.unclear(source(node), "a function can take the name of a command")
	case *syntax.DeclClause:
		s.unclear(source(node), "it sets variables of the shell")
	case *syntax.ArithmExp, *syntax.ArithmCmd, *syntax.LetClause, *syntax.CStyleLoop:
		s.arithmetic(node)
	case *syntax.TestClause:
		s.test(node)
	case *syntax.ParamExp:
		s.expansion(node)
	case *syntax.ForClause:
		s.loop(node)
	case *syntax.ExtGlob:
		s.unclear(source(node), "shells differ in what its pattern is")
	}
}

// keyword adds a word before a command that is a keyword to bash, and a program to
// other shells. What follows it is visited by itself.
func (s *script) keyword(name string, node syntax.Node) {
	s.acts = append(s.acts, act{kind: acp.ToolExecute, command: true, words: []word{literal(name), {text: "...", many: true}}, text: abridge(source(node)), inner: s.inner})
}

// call adds the acts of a simple command.
func (s *script) call(call *syntax.CallExpr) {
	if len(call.Args) > 0 && call.Args[0].Lit() == "[[" {
		return // where it is no keyword; what differs then is not understood in bash
	}
	if len(call.Assigns) > 0 {
		s.strange(source(call), "an assignment can change what its commands are")
	}
	if len(call.Args) > 0 {
		words := evaluate(call.Args)
		s.command(words, source(call))
		s.builtin(words, source(call))
	}
}

// command adds the acts of a simple command, whether a shell starts it or not.
func (s *script) command(words []word, text string) {
	if s.full = s.full || len(words) > maxWords || len(s.acts) > maxActs; s.full {
		s.unclear("the call", "it holds more than is judged")
		return
	}
	a := act{kind: acp.ToolExecute, command: true, words: words, steps: s.steps, text: abridge(text), inner: s.inner}
	if head := words[0]; !head.known || strings.HasPrefix(head.text, "=") {
		s.acts = append(s.acts, a)
		s.unclear(a.text, "the name of its program is not written out")
		return
	} else if strings.Contains(head.text, "/") {
		a.names = append(a.names, path.Base(head.text))
		if real, err := filepath.EvalSymlinks(s.at(head.text)); err == nil {
			a.names = append(a.names, path.Base(real))
		}
	}
	s.mention(&a)
	s.acts = append(s.acts, a)
	s.unwrap(words, text)
}

// at makes a path absolute.
func (s *script) at(p string) string {
	if path.IsAbs(p) {
		return p
	}
	return s.dir + "/" + p
}

// redirects adds the acts of the redirections of a statement.
func (s *script) redirects(stmt *syntax.Stmt) {
	for _, r := range stmt.Redirs {
		kind := acp.ToolEdit
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
			continue
		case syntax.RdrIn:
			kind = acp.ToolRead
		case syntax.DplIn, syntax.DplOut:
			target := source(r.Word)
			if duplicates.MatchString(target) {
				continue
			}
			if strings.HasPrefix(target, "-") {
				s.unclear(source(stmt), "shells take what follows "+r.Op.String()+"- for another word")
			}
		}
		if r.N != nil && strings.HasPrefix(r.N.Value, "{") {
			s.strange(source(stmt), "a redirection sets a variable")
		}
		if r.Op == syntax.RdrAll || r.Op == syntax.AppAll {
			s.ambiguous(stmt, r)
		}
		s.redirect(kind, evaluateWord(r.Word))
	}
}

// duplicates are the words of redirections that copy or close a descriptor.
var duplicates = regexp.MustCompile(`^([0-9]+-?|-)$`)

// ambiguous adds that a plain POSIX shell ends the command before &>, and takes
// words after it for another command.
func (s *script) ambiguous(stmt *syntax.Stmt, r *syntax.Redirect) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if ok && len(call.Args) > 0 && call.Args[len(call.Args)-1].Pos().After(r.OpPos) {
		s.unclear(source(stmt), "shells differ in what follows "+r.Op.String())
	}
}

// harmless are targets that a redirection may have without touching a file.
var harmless = map[string]bool{"/dev/null": true, "/dev/stdout": true, "/dev/stderr": true, "/dev/stdin": true}

func (s *script) redirect(kind string, w word) {
	if w.known && harmless[w.text] {
		return
	}
	a := act{kind: kind, text: fmt.Sprintf("%s by redirection %s", kind, abridge(w.text))}
	switch {
	case !w.known && !w.tilde:
		a.anywhere, a.unclear = true, "its target is not written out"
	case s.moves && !path.IsAbs(w.text) && !w.tilde:
		a.anywhere, a.unclear = true, "the line changes its directory before"
	default:
		a.path = newTarget(s.dir, w.text)
	}
	s.acts = append(s.acts, a)
}

// arithmetic adds that a shell may evaluate the values of variables, and run what
// stands in their indices.
func (s *script) arithmetic(node syntax.Node) {
	for n := range syntax.Preorder(node) {
		switch n := n.(type) {
		case *syntax.Word:
			if w := evaluateWord(n); !w.known || strings.Trim(w.text, "0123456789") != "" {
				s.unclear(source(node), "arithmetic with variables can run commands")
				return
			}
		case *syntax.ParamExp, *syntax.CStyleLoop, *syntax.LetClause, *syntax.ArithmCmd:
			s.unclear(source(node), "arithmetic with variables can run commands")
			return
		}
	}
}

// test adds what is not plain in [[ ]].
func (s *script) test(t *syntax.TestClause) {
	for n := range syntax.Preorder(t) {
		switch n := n.(type) {
		case *syntax.BinaryTest:
			switch n.Op {
			case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
				s.unclear(source(t), "arithmetic with variables can run commands")
			case syntax.TsMatchShort, syntax.TsMatch, syntax.TsNoMatch, syntax.TsNewer, syntax.TsOlder, syntax.TsDevIno:
			default: // && || < > =~, which are operators to a shell without [[
				s.unclear(source(t), "shells differ in what its operators are")
			}
		case *syntax.UnaryTest:
			switch n.Op {
			case syntax.TsVarSet, syntax.TsRefVar, syntax.TsOptSet:
				s.unclear(source(t), "the name of a variable can run commands")
			}
		case *syntax.ParenTest:
			s.unclear(source(t), "shells differ in what its operators are")
		}
	}
}

// expansion adds parameter expansions that set variables or run commands.
func (s *script) expansion(p *syntax.ParamExp) {
	switch {
	case p.Excl && p.Names == 0, p.Index != nil, p.Slice != nil, p.NestedParam != nil, p.Flags != nil, len(p.Modifiers) > 0:
	case p.Exp != nil && (p.Exp.Op == syntax.AssignUnset || p.Exp.Op == syntax.AssignUnsetOrNull || p.Exp.Op == syntax.OtherParamOps):
	default:
		return
	}
	s.unclear(source(p), "the expansion can set variables or run commands")
}

// harmlessName are the names of variables that change nothing but expansions.
var harmlessName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

func (s *script) loop(f *syntax.ForClause) {
	iter, ok := f.Loop.(*syntax.WordIter)
	switch {
	case f.Select:
		s.unclear(source(iter), "select asks its input")
	case ok && (!harmlessName.MatchString(iter.Name.Value) || iter.Name.Value == "path"):
		s.strange(source(iter), "the variable of the loop can change what its commands are")
	}
}

// strange adds that a command may be another one than it seems.
func (s *script) strange(text, why string) {
	s.acts = append(s.acts, act{kind: acp.ToolExecute, text: abridge(text), unclear: why})
}

// unclear adds that a part of a line is not understood: it may run anything, and
// by that read or write anything.
func (s *script) unclear(text, why string) {
	if len(s.acts) > 2*maxActs {
		return // said often enough
	}
	s.strange(text, why)
	text = abridge(text)
	s.acts = append(s.acts,
		act{kind: acp.ToolEdit, text: text, unclear: why, anywhere: true, may: true},
		act{kind: acp.ToolRead, text: text, unclear: why, anywhere: true, may: true})
}

// unreadable returns why a line cannot be judged by its characters.
func unreadable(text string) string {
	if len(text) > maxLine {
		return fmt.Sprintf("it is longer than %d bytes", maxLine)
	}
	for part := range strings.SplitSeq(text, "\n") {
		if strings.HasSuffix(part, `\`) && (strings.Contains(part, "#") || strings.HasSuffix(part, `$\`) || strings.Contains(text, "<<")) {
			return "a line of it ends with a backslash where parsers differ in what that means"
		}
	}
	for _, r := range text {
		switch {
		case r == '\n' || r == '\t':
		case r == utf8.RuneError:
			return "it is not valid UTF-8"
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r > unicode.MaxASCII && unicode.IsSpace(r):
			return fmt.Sprintf("it holds the invisible character %U", r)
		}
	}
	return ""
}

// abridge shortens text for people.
func abridge(s string) string {
	const most = 200
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

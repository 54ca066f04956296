package permission

import (
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A wrapper is a program that starts the command in its arguments. What rejects or
// asks looks behind it; what allows does not.
type wrapper struct {
	values   string   // short options with an argument
	long     []string // long options with an argument of their own
	operands int      // before the command
	assigns  bool     // NAME=VALUE may stand before the command
	lines    []string // options whose argument is a line for a shell
	only     string   // short options with which it runs nothing
	more     bool     // it adds arguments of its own
	unknown  bool     // its options are not known here: the command may begin anywhere
}

// wrappers are known by their base names.
var wrappers = map[string]wrapper{
	"env":     {values: "uCa", long: []string{"unset", "chdir", "argv0"}, assigns: true, lines: []string{"-S", "--split-string"}},
	"command": {only: "vV"},
	"builtin": {},
	"exec":    {values: "a"},
	"coproc":  {unknown: true},
	"nice":    {values: "n", long: []string{"adjustment"}},
	"nohup":   {},
	"time":    {values: "of", long: []string{"output", "format"}},
	"timeout": {values: "ks", long: []string{"kill-after", "signal"}, operands: 1},
	"xargs": {values: "adEILnPs", long: []string{"arg-file", "delimiter", "max-args", "max-procs", "max-chars", "process-slot-var"},
		more: true},
	"sudo": {values: "CDghpRrTtUu", assigns: true, only: "lvKk",
		long: []string{"user", "group", "host", "prompt", "chdir", "chroot", "role", "type", "close-from", "command-timeout", "other-user"}},
	"doas":    {values: "uC"},
	"busybox": {},
	"toybox":  {},
	"setsid":  {},
	"stdbuf":  {values: "ioe", long: []string{"input", "output", "error"}},
	"ionice":  {values: "cnpPu", long: []string{"class", "classdata"}},
	"chrt":    {operands: 1, values: "TPD"},
	"taskset": {operands: 1},
	"chroot":  {operands: 1},
	"flock":   {operands: 1, values: "wE", long: []string{"timeout", "wait", "conflict-exit-code"}, lines: []string{"-c", "--command"}},
	"su":      {unknown: true, lines: []string{"-c", "--command"}},
	"runuser": {unknown: true, lines: []string{"-c", "--command"}},
	"script":  {unknown: true, lines: []string{"-c", "--command"}},
	"watch":   {values: "nqdt", long: []string{"interval"}},
	"unshare": {unknown: true}, "nsenter": {unknown: true}, "setpriv": {unknown: true}, "prlimit": {unknown: true},
	"strace": {unknown: true}, "ltrace": {unknown: true}, "gdb": {unknown: true}, "valgrind": {unknown: true}, "perf": {unknown: true},
	"setarch": {unknown: true}, "linux32": {unknown: true}, "linux64": {unknown: true}, "numactl": {unknown: true},
	"parallel": {unknown: true, more: true}, "systemd-run": {unknown: true}, "systemd-inhibit": {unknown: true},
	"firejail": {unknown: true}, "bwrap": {unknown: true}, "proot": {unknown: true}, "fakeroot": {unknown: true}, "pkexec": {unknown: true},
	"dbus-run-session": {unknown: true}, "xvfb-run": {unknown: true}, "rlwrap": {unknown: true}, "unbuffer": {unknown: true},
	"start-stop-daemon": {unknown: true}, "run-parts": {unknown: true}, "chronic": {unknown: true}, "ts": {unknown: true},
	"nocorrect": {}, "noglob": {}, "-": {}, "chpst": {unknown: true}, "softlimit": {unknown: true}, "caffeinate": {unknown: true}, "catchsegv": {},
}

// shells run the line after -c, or what they read.
var shells = map[string]bool{
	"sh": true, "bash": true, "dash": true, "zsh": true, "ksh": true, "ash": true, "mksh": true, "rbash": true, "lksh": true, "pdksh": true, "yash": true, "posh": true, "hush": true,
	"fish": false, "csh": false, "tcsh": false, "pwsh": false, "powershell": false, "nu": false, "elvish": false, "xonsh": false, // other grammars
}

// evaluating are builtins of shells that run or rename code that their arguments
// hold, so that what follows cannot be told.
var evaluating = map[string]bool{
	"eval": true, ".": true, "source": true, "trap": true, "alias": true, "unalias": true, "hash": true, "enable": true, "bind": true,
	"complete": true, "compgen": true, "compopt": true, "fc": true, "history": true, "mapfile": true, "readarray": true, "read": true,
	"let": true, "getopts": true, "declare": true, "typeset": true, "local": true, "export": true, "readonly": true, "unset": true,
	"set": true, "shopt": true, "setopt": true, "emulate": true, "wait": true, "jobs": true, "exec": true, "autoload": true, "zmodload": true,
	"functions": true, "function": true, "select": true, "vared": true, "print": true, "sched": true, "zle": true, "rehash": true,
}

// builtin adds what builtins do that a shell runs for a command.
func (s *script) builtin(words []word, text string) {
	for len(words) > 1 && words[0].known && (words[0].text == "command" || words[0].text == "builtin") {
		words = words[1:]
	}
	if !words[0].known {
		return // said already, or in the words behind a wrapper
	}
	switch name := words[0].text; {
	case evaluating[name]:
		s.unclear(text, "the builtin "+name+" can run or rename code")
	case name == "printf" || name == "test" || name == "[":
		for _, w := range words[1:] {
			if w.known && (strings.HasPrefix(w.text, "-v") || w.text == "-R") || !w.known && (name != "printf" || w.many) {
				s.unclear(text, "the name of a variable can run commands")
				return
			}
		}
	}
}

// unwrap adds what stands behind a wrapper or a shell.
func (s *script) unwrap(words []word, text string) {
	name := path.Base(words[0].text)
	if s.depth >= maxDepth {
		s.unclear(text, "its commands nest too deep")
		return
	}
	s.depth++
	outer := s.inner
	s.inner = true
	defer func() { s.inner = outer; s.depth-- }()
	if posix, ok := shells[name]; ok {
		s.shell(words[1:], text, posix)
		return
	}
	switch w, ok := wrappers[name]; {
	case ok:
		s.wrapped(w, words[1:], text)
	case name == "find":
		s.find(words[1:])
	case name == "eval":
		s.quotedLine(words[1:])
	case name == "trap" && len(words) > 1:
		s.quotedLine(words[1:2])
	case name == "alias":
		for _, w := range words[1:] {
			_, value, _ := strings.Cut(w.text, "=")
			s.quotedLine([]word{{text: value, known: w.known}})
		}
	}
}

// quotedLine adds the acts of a line that stands in words.
func (s *script) quotedLine(words []word) {
	var parts []string
	for _, w := range words {
		if !w.known {
			return // its builtin is not understood
		}
		parts = append(parts, w.text)
	}
	if len(parts) > 0 {
		s.line(strings.Join(parts, " "))
	}
}

// shell adds what a shell runs: the line after -c. Without a line or a file it
// runs what it reads.
func (s *script) shell(args []word, text string, posix bool) {
	line := false
	for len(args) > 0 {
		w := args[0]
		option := w.text
		if !w.known {
			s.unclear(text, "what the shell runs is not written out")
			return
		}
		if len(option) < 2 || option[0] != '-' && option[0] != '+' {
			break
		}
		args = args[1:]
		if option == "--" {
			break
		}
		if strings.HasPrefix(option, "--") {
			if option == "--command" {
				line = true
			}
			if slices.Contains([]string{"--rcfile", "--init-file", "--emulate"}, option) && len(args) > 0 {
				args = args[1:]
			}
			continue
		}
		line = line || strings.Contains(option[1:], "c")
		for range strings.Count(strings.ToLower(option[1:]), "o") {
			if len(args) > 0 {
				args = args[1:]
			}
		}
	}
	switch {
	case len(args) == 0 || args[0].text == "-" && !line:
		s.unclear(text, "the shell runs what it reads")
	case !line:
		s.command(args, lineOf(args)) // a file, which is a program like others
	case !args[0].known:
		s.unclear(text, "the line of the shell is not written out")
	default:
		if !posix {
			s.unclear(text, "the shell has a grammar of its own")
		}
		s.line(args[0].text)
	}
}

// wrapped adds the command in the arguments of a wrapper.
func (s *script) wrapped(w wrapper, args []word, text string) {
	rest, sure := s.operands(w, args, text)
	if !sure {
		for i := range args { // the command may begin at any word
			if s.full {
				return
			}
			s.behind(w, args[i:])
		}
		return
	}
	for ; w.operands > 0 && len(rest) > 0; w.operands-- {
		rest = rest[1:]
	}
	for w.assigns && len(rest) > 0 && strings.Contains(rest[0].text, "=") {
		rest = rest[1:]
	}
	if len(rest) > 1 && slices.Contains(w.lines, rest[0].text) {
		s.quotedLine(rest[1:2])
	} else if len(rest) > 0 {
		s.behind(w, rest)
	}
}

func (s *script) behind(w wrapper, words []word) {
	if w.more {
		words = append(slices.Clip(words), word{text: "...", many: true})
	}
	if head := words[0]; head.known && strings.ContainsAny(head.text, " \t\n;|&") {
		s.quotedLine(words) // as watch and its like have it
	}
	s.command(words, lineOf(words))
	s.builtin(words, lineOf(words))
}

// operands returns the arguments of a wrapper after its options; sure is false
// when it cannot be told where they begin. Lines in options are judged.
func (s *script) operands(w wrapper, args []word, text string) (rest []word, sure bool) {
	sure = !w.unknown
	take := func(value word) {
		if s.line(value.text); !value.known {
			s.unclear(text, "the line in its option is not written out")
		}
	}
	for len(args) > 0 {
		option := args[0].text
		if !args[0].known {
			return args, false
		}
		if len(option) < 2 || option[0] != '-' {
			return args, sure
		}
		args = args[1:]
		if option == "--" {
			return args, sure
		}
		name, value, attached := option[:2], option[2:], len(option) > 2
		if strings.HasPrefix(option, "--") {
			name, value, attached = strings.Cut(option, "=")
		}
		separate := !attached && (slices.Contains(w.long, strings.TrimPrefix(name, "--")) || len(name) == 2 && strings.Contains(w.values, name[1:]))
		switch {
		case slices.Contains(w.lines, name) && attached:
			take(literal(value))
		case slices.Contains(w.lines, name) && len(args) > 0:
			take(args[0])
			args = args[1:]
		case separate && len(args) > 0:
			args = args[1:]
		case len(name) == 2 && strings.ContainsAny(option[1:], w.only):
			return nil, sure
		case len(name) == 2 && attached && !strings.Contains(w.values, name[1:]):
			// Options in one word; the last of them may take the next one.
			if last := option[len(option)-1:]; strings.Contains(w.values, last) && len(args) > 0 {
				sure = false
			}
		}
	}
	return nil, sure
}

// find adds the commands of -exec and its like.
func (s *script) find(args []word) {
	for i, w := range args {
		if !slices.Contains([]string{"-exec", "-execdir", "-ok", "-okdir"}, w.text) {
			continue
		}
		end := slices.IndexFunc(args[i+1:], func(w word) bool { return w.text == ";" || w.text == "+" })
		if end < 0 {
			end = len(args) - i - 1
		}
		words := slices.Clone(args[i+1 : i+1+end])
		for k, w := range words {
			if strings.Contains(w.text, "{}") {
				words[k] = word{text: w.text, many: true}
			}
		}
		if len(words) > 0 {
			s.command(words, lineOf(words))
		}
	}
}

// stdin adds the lines that a statement gives a shell to read.
func (s *script) stdin(stmt *syntax.Stmt) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return
	}
	if _, ok := shells[path.Base(evaluateWord(call.Args[0]).text)]; !ok {
		return
	}
	outer := s.inner
	s.inner = true
	defer func() { s.inner = outer }()
	for _, r := range stmt.Redirs {
		from := r.Hdoc
		if r.Op == syntax.WordHdoc {
			from = r.Word
		}
		if from == nil {
			continue
		}
		s.line(evaluateWord(from).text) // the shell is not understood; what is written out counts
	}
}

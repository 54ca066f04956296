package permission

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A wrapper is a program that starts the command in its arguments. What rejects or
// asks looks behind it; what allows does not.
type wrapper struct {
	values   string   // short options with an argument
	attached string   // short options whose argument, if any, is in the same word
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
	"xargs": {values: "adEIJLnPRsS", attached: "eil", long: []string{"arg-file", "delimiter", "max-args", "max-procs", "max-chars", "process-slot-var"},
		more: true},
	"sudo": {values: "CDghpRrTtUu", assigns: true, only: "lvK",
		long: []string{"user", "group", "host", "prompt", "chdir", "chroot", "role", "type", "close-from", "command-timeout", "other-user"}},
	"doas":    {values: "uC"},
	"busybox": {},
	"toybox":  {},
	"setsid":  {},
	"stdbuf":  {values: "ioe", long: []string{"input", "output", "error"}},
	"ionice":  {values: "cnpPu", long: []string{"class", "classdata", "pid", "pgid", "uid"}},
	"chrt":    {unknown: true},
	"taskset": {operands: 1},
	"chroot":  {operands: 1, long: []string{"groups", "userspec"}},
	"flock":   {operands: 1, values: "wE", long: []string{"timeout", "wait", "conflict-exit-code"}, lines: []string{"-c", "--command"}},
	"su":      {unknown: true, lines: []string{"-c", "--command"}},
	"runuser": {unknown: true, lines: []string{"-c", "--command"}},
	"script":  {unknown: true, lines: []string{"-c", "--command"}},
	"watch":   {values: "nqs", long: []string{"interval", "equexit", "shotsdir"}},
	"unshare": {unknown: true}, "nsenter": {unknown: true}, "setpriv": {unknown: true}, "prlimit": {unknown: true},
	"strace": {unknown: true}, "ltrace": {unknown: true}, "gdb": {unknown: true}, "valgrind": {unknown: true}, "perf": {unknown: true},
	"setarch": {unknown: true}, "linux32": {unknown: true}, "linux64": {unknown: true}, "numactl": {unknown: true},
	"parallel": {unknown: true, more: true}, "systemd-run": {unknown: true}, "systemd-inhibit": {unknown: true},
	"firejail": {unknown: true}, "bwrap": {unknown: true}, "proot": {unknown: true}, "fakeroot": {unknown: true}, "pkexec": {unknown: true},
	"dbus-run-session": {unknown: true}, "xvfb-run": {unknown: true}, "rlwrap": {unknown: true}, "unbuffer": {unknown: true},
	"start-stop-daemon": {unknown: true}, "run-parts": {unknown: true}, "chronic": {unknown: true}, "ts": {unknown: true},
	"nocorrect": {}, "noglob": {}, "-": {}, "chpst": {unknown: true}, "softlimit": {unknown: true}, "caffeinate": {unknown: true}, "catchsegv": {},
}

// runners are tools that prepare an environment, or measure, for the command in
// their arguments. What rejects or asks looks behind them too; other than a
// wrapper, such a tool is what the user knows the command by.
var runners = words("ssh-agent sg run0 capsh cpulimit nocache eatmydata torsocks torify proxychains proxychains4 faketime" +
	" dumb-init tini catatonit gosu su-exec entr tmux screen dtach abduco hyperfine rr heaptrack" +
	" uv uvx pipx poetry pipenv pdm hatch rye conda mamba micromamba bundle npx pnpm yarn bunx direnv nix nix-shell mise asdf rbenv pyenv nodenv volta" +
	" envdir setlock setuidgid envuidgid s6-setuidgid with-contenv fakechroot apptainer singularity distcc ccache sem op doppler")

// loader is the program that the kernel starts for dynamic programs; called by its
// name it runs the program in its arguments (ld.so(8)).
var loader = regexp.MustCompile(`^ld(-linux.*|-musl.*|64)?\.so(\.[0-9]+)?$`)

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
	case runners[name] || loader.MatchString(name):
		s.wrapped(wrapper{unknown: true}, words[1:], text)
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
	for len(args) > 0 {
		head := args[0].text
		switch {
		case !args[0].known:
			return args, false
		case head == "-" && w.assigns: // env takes it for -i
		case len(head) < 2 || head[0] != '-':
			return args, sure
		}
		args = args[1:]
		if head == "--" {
			return args, sure
		}
		o := w.option(head)
		if o.idle {
			return nil, sure
		}
		value := literal(o.value)
		if o.takes && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		if !o.line || value.text == "" {
			continue
		}
		s.line(value.text)
		if !value.known || strings.Contains(value.text, `\`) { // env has escapes of its own
			s.unclear(text, "the line in its option is not written out")
		}
	}
	return nil, sure
}

// An option is what one word of options says to a wrapper.
type option struct {
	value string // in the same word
	takes bool   // the next word is its argument
	line  bool   // its argument is a line for a shell
	idle  bool   // with it the wrapper runs nothing
}

// option reads one word as getopt_long(3) does: short options may stand together,
// and long ones may be cut short.
func (w wrapper) option(text string) (o option) {
	if strings.HasPrefix(text, "--") {
		name, value, attached := strings.Cut(text, "=")
		o.value = value
		o.line = slices.ContainsFunc(w.lines, func(l string) bool { return strings.HasPrefix(l, name) })
		o.takes = !attached && (o.line || slices.ContainsFunc(w.long, func(l string) bool { return strings.HasPrefix(l, name[2:]) }))
		return o
	}
	for i := 1; i < len(text); i++ {
		letter := text[i : i+1]
		o.line = slices.Contains(w.lines, "-"+letter)
		switch {
		case strings.Contains(w.only, letter):
			o.idle = true
			return o
		case o.line || strings.Contains(w.values, letter):
			o.value, o.takes = text[i+1:], i+1 == len(text)
			return o
		case strings.Contains(w.attached, letter):
			return o
		}
	}
	return o
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

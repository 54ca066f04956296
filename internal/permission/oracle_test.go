package permission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// oracleRules are the commands that the policy of the oracle allows; a last * is
// any number of words.
var oracleRules = [][]string{
	{"ls", "*"}, {"git", "*"}, {"echo2", "*"}, {"make", "test"}, {"rm", "*", "--dry-run"}, {"cat", "a", "b"},
	{"npm", "ci"}, {":", "*"}, {"true", "*"}, {"echo", "*"}, {"printf", "*"}, {"test", "*"}, {"[", "*"}, {"cd", "*"},
}

// named reports whether a rule names an argument vector. It is written without
// the code under test.
func named(argv []string) bool {
	for _, rule := range oracleRules {
		pattern := "^"
		for i, w := range rule {
			switch {
			case w == "*":
				pattern += "(\x00[^\x00]*)*"
			case i == 0:
				pattern += regexp.QuoteMeta(w)
			default:
				pattern += "\x00" + regexp.QuoteMeta(w)
			}
		}
		if regexp.MustCompile(pattern + "$").MatchString(strings.Join(argv, "\x00")) {
			return true
		}
	}
	return false
}

// An oracle runs lines under real shells that find nothing but stubs.
type oracle struct {
	judge permission.Judge
	stubs string // PATH
	work  string // working directory and home
	log   string
	dash  string
	bash  string
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	dir := t.TempDir()
	o := &oracle{stubs: filepath.Join(dir, "stubs"), work: filepath.Join(dir, "work"), log: filepath.Join(dir, "log")}
	for _, d := range []string{o.stubs, o.work} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if o.dash, err = exec.LookPath("dash"); err != nil {
		t.Fatal(err)
	}
	if o.bash, err = exec.LookPath("bash"); err != nil {
		t.Fatal(err)
	}
	stub := "#!" + o.dash + "\nset -f\nprintf '%s\\0' \"${0##*/}\" \"$@\" '=end of command=' >>'" + o.log + "'\n"
	if err := os.WriteFile(filepath.Join(dir, "stub"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("rm ls git echo2 make cat npm pwned env sudo timeout nice nohup xargs time sh bash dash find busybox coproc function select let declare source local typeset shopt a b x") {
		o.stub(name)
	}
	for _, name := range []string{"a", "b.txt"} {
		if err := os.WriteFile(filepath.Join(o.work, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var rules []string
	for _, r := range oracleRules {
		text, err := json.Marshal(strings.Join(r, " "))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, fmt.Sprintf(`{"decision":"allow","command":%s}`, text))
	}
	o.judge = permission.Judge{Dir: o.work, Policy: policy(t, `{"default":{"*":"reject","read":"allow"},"rules":[`+strings.Join(rules, ",")+`]}`)}
	return o
}

func (o *oracle) stub(name string) {
	_ = os.Symlink("../stub", filepath.Join(o.stubs, name)) // there is one already
}

var plainName = regexp.MustCompile(`[A-Za-z0-9_.+@%-]+`)

// harmful is what a shell does by itself, or outside the working directory.
var harmful = regexp.MustCompile(`/|kill|ulimit|suspend|exit`)

// run gives a line that the judge allows to both shells, and returns the argument
// vectors that no rule names.
func (o *oracle) run(t testing.TB, line string) (bad []string) {
	if strings.ContainsRune(line, 0) || len(line) > 2000 || harmful.MatchString(strings.NewReplacer("'", "", `"`, "", `\`, "", "\n", "").Replace(line)) {
		return nil
	}
	if o.judge.Verdict(run(t, line)).Decision != api.DecideAllow {
		return nil
	}
	for _, argv := range o.argvs(t, line) {
		if !named(argv[1:]) {
			bad = append(bad, fmt.Sprintf("%s ran %q", argv[0], argv[1:]))
		}
	}
	return bad
}

// argvs runs a line by both shells, and returns the argument vectors of all that
// it calls, each after the name of the shell.
func (o *oracle) argvs(t testing.TB, line string) (argvs [][]string) {
	t.Helper()
	for _, name := range plainName.FindAllString(line, 50) {
		o.stub(name)
	}
	for _, shell := range [][]string{{o.dash}, {o.bash, "--norc"}} {
		if err := os.Remove(o.log); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		limits := `ulimit -t 1; ulimit -f 64; ulimit -n 64; exec "$@"`
		cmd := exec.CommandContext(ctx, o.dash, append(append([]string{"-c", limits, "limits"}, shell...), "-c", line)...)
		cmd.Dir = o.work
		cmd.Env = []string{"PATH=" + o.stubs, "HOME=" + o.work, "LC_ALL=C.UTF-8", "x=a[$(pwned 1)]", "y=pwned 2", "z=-v"}
		cmd.WaitDelay = time.Second
		isolate(cmd)
		err := cmd.Run()
		cancel()
		if err != nil && cmd.ProcessState == nil {
			t.Fatalf("start %s: %v", shell[0], err)
		}
		data, err := os.ReadFile(o.log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for record := range bytes.SplitSeq(data, []byte("\x00=end of command=\x00")) {
			if len(record) > 0 {
				argvs = append(argvs, append([]string{filepath.Base(shell[0])}, strings.Split(string(record), "\x00")...))
			}
		}
	}
	return argvs
}

// pieces are what lines are made of by the fuzzer.
var pieces = []string{
	"ls", "git", "rm", "pwned", "echo", "printf", "test", "[", "]", "a", "b", "x", "--dry-run", "make test", "cat a b", ":", "true", "-v", "-n", "cd", "eval", "env", "sh", "-c",
	" ", " ", " ", " ", " ", " ", "\n", ";", "&", "&&", "||", "|", "|&", "(", ")", "{", "}", "$(", "${", "`", "$((", "))", "[[", "]]", "((", "<(", ">(",
	"'", "\"", "\\", "\\\n", "$", "$'", "$\"", "$x", "$y", "$@", "${x:-", "${x=", "${x@P}", "${x[", "${#", "${!", "${x%", "${x/", "x=", "a=(", "x+=", "PATH=.", "*", "?", "[a]", "{a,b}", "~", "!", "#", " #",
	"if", "then", "else", "elif", "fi", "for x in", "do", "done", "while", "until", "case", "in", "esac", ";;", ";&", "select", "function", "f()", "ls()", "time", "coproc", "let", "declare", "local", "export",
	"<", "<<E\n", "<<'E'\n", "<<-E\n", "\nE\n", "E", "<<<", ">", ">>", "2>&1", ">&2", "&>", "<&-", "/dev/null", "-eq", "=", "==", "=~", "1", "+", "@(", "!(", ",", "..", "^", "%",
	"ls ", "git ", "echo ", "; ", " && ", " | ", "$(ls)", "\"$x\"", "'a b'", "printf -v ", "test -v ", "trap ", "alias ls=", "read ", "unset ", "set ", ". ", "command ", "builtin ", "exec ", "E\n", "\t", "\\'", "\\\"", "\\`",
}

// build makes a line of pieces.
func build(data []byte) string {
	var b strings.Builder
	for _, c := range data {
		b.WriteString(pieces[int(c)%len(pieces)])
	}
	return b.String()
}

var oracleSeeds = []string{
	"ls", "ls $x", "echo \"$x\" | git a", "for x in a b; do ls $x; done", "printf -v 'a[$(pwned)]' y", "[[ $x -eq 0 ]]", "echo $((x))", "echo ${x@P}",
	"ls &>a pwned", "[[ a && pwned ]]", "[[ a > pwned ]]", "[ -v 'a[$(pwned)]' ]", "for x in -v; do test $x 'a[$(pwned)]'; done", "time pwned",
	"echo `pwned`", "echo \\`pwned\\`", "echo <<E\n$(pwned)\nE", "echo <<'E'\nE\npwned", "ls {a,b}", "{ls,pwned}", "case a in a) pwned;; esac", "ls\npwned",
	"echo a\\\npwned", "rm a # --dry-run", "rm --dry-run a --dry-run", "rm $x --dry-run", "make $x", "cat a b; cat a", "echo $'a\\'; pwned #'", "echo $\"a\"", "echo ${x/a/$(pwned)}",
	"f() { pwned; }; f", "ls() { pwned; }\nls", "alias ls=pwned\nls", "hash -p pwned ls; ls", "select x in a; do pwned; done", "echo <(pwned)", "echo ${x:-`pwned`}",
	"if true; then ls; fi", "while test a; do pwned; done", "! pwned", "(ls)", "ls &", "coproc pwned", "echo ${#x} ${x%a}", "echo $[x]", "echo !(pwned)", "cd a; ls", "PATH=. ls",
}

// oracleBases are allowed; the generator puts pieces into them.
var oracleBases = []string{
	"ls a", "ls a; git b", "echo a b", "ls 'a b' \"$x\"", "for x in a b; do ls $x; done", "if ls; then git a; else echo b; fi", "echo $(ls a) b",
	"case a in a) ls;; b) git;; esac", "while test a; do ls; done", "ls a | git b && echo c || ls &", "(ls a; git b)", "{ ls a; }", "cat a b", "make test",
	"rm a --dry-run", "echo <<E\na $x\nE\nls", "[[ -f a ]] && ls", "echo ${x:-a} ${#x}", "echo $((1+2))", "printf a", "ls 2>&1 < a", "echo `ls a`", "! ls a\ngit b",
	"echo <<'E' a\nb\nE", "ls {a,b} *", "echo \"a $(ls) b\"",
}

// oracleLines is how many lines the test makes.
const oracleLines = 600

func TestShellsRunWhatIsAllowed(t *testing.T) {
	o := newOracle(t)
	if o.judge.Policy.Rules = append(o.judge.Policy.Rules, api.PermissionRule{Command: "x *", Decision: api.DecideAllow}); len(o.run(t, "x a")) != 2 {
		t.Fatal("the oracle does not see a command that no rule names")
	}
	o = newOracle(t)
	for _, line := range oracleSeeds {
		for _, bad := range o.run(t, line) {
			t.Errorf("%q is allowed, and %s", line, bad)
		}
	}
	random := rand.New(rand.NewPCG(11, 2))
	ran := 0
	for range oracleLines {
		line := oracleBases[random.IntN(len(oracleBases))]
		for range 1 + random.IntN(4) {
			at := random.IntN(len(line) + 1)
			line = line[:at] + build([]byte{byte(random.IntN(256))}) + line[at:]
		}
		if o.judge.Verdict(run(t, line)).Decision != api.DecideAllow {
			continue
		}
		ran++
		for _, bad := range o.run(t, line) {
			t.Errorf("%q is allowed, and %s", line, bad)
		}
	}
	if ran < 20 {
		t.Errorf("%d lines of the generator were allowed: too few to show anything", ran)
	}
}

func FuzzLines(f *testing.F) {
	for _, line := range oracleSeeds {
		f.Add(line, []byte{})
	}
	f.Add("ls ", []byte{24, 0, 6})
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, line string, data []byte) {
		for _, line := range []string{line, line + build(data), build(data) + line} {
			for _, bad := range o.run(t, line) {
				t.Errorf("%q is allowed, and %s", line, bad)
			}
		}
	})
}

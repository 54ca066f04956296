package permission_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// spellings run pwned, or seem to. No line that does may be allowed where pwned
// is rejected.
var spellings = []string{
	"pwned", "ls; pwned", "\\pwned", "'pwned'", "p'wn'ed", "p\"w\"ned", "p\\\nwned", "p$@wned", "p${q}wned", "p$(:)wned", "p``wned", "$'pwned'", "$'\\x70wned'", "$\"pwned\"", "{pwned,a}", "pwne?", "pwn*", "pwne[d]",
	"q=pwned; $q", "q=pwned; \"$q\" a", "q=pwned\n$q", "$(echo pwned)", "`echo pwned`", "$y", "eval pwned", "eval 'pw''ned'", "eval \"$y\"", "q=pw; ${q}ned", "set -- pwned; $1", "set pwned; \"$@\"", "set pwned; $*",
	"for q in pwned; do $q; done", "for q in pwned\ndo\n\"$q\"\ndone", "read q <<E\npwned\nE\n$q", "case pwned in *) pwned;; esac", "if :; then pwned; fi", "while pwned; do break; done", "until ! pwned; do break; done",
	"(pwned)", "{ pwned; }", "! pwned", "pwned &", "pwned | ls", "ls | pwned", "ls |& pwned", "ls && pwned", "ls || pwned; pwned", "coproc pwned", "time pwned", "time -p pwned", "f() { pwned; }; f", "function f { pwned; }; f", "f() pwned; f",
	"alias q=pwned\nq", "shopt -s expand_aliases\nalias q=pwned\nq", "trap pwned EXIT", "trap 'pwned' 0", "command pwned", "command -p pwned", "builtin command pwned", "exec pwned", "exec -a x pwned", "env pwned", "env -i PATH=\"$PATH\" pwned", "env -u q pwned", "env -S pwned", "env -S'pwned a'", "env --split-string=pwned", "env -vS pwned", "env q=1 pwned", "env -- pwned", "env - PATH=\"$PATH\" pwned",
	"nice pwned", "nice -n 1 pwned", "nice -1 pwned", "nice --adjustment=1 pwned", "nice -n1 pwned", "timeout 1 pwned", "timeout -k 1 1 pwned", "timeout --foreground 1 pwned", "timeout -s INT 1 pwned", "timeout --signal INT 1 pwned", "timeout -k1 -sINT 1 pwned",
	"nohup pwned", "nohup -- pwned", "setsid pwned", "setsid -w pwned", "stdbuf -o0 pwned", "stdbuf -o 0 pwned", "stdbuf --output=0 pwned", "echo a | xargs pwned", "echo pwned | xargs", "echo a | xargs -n1 pwned", "echo a | xargs -n 1 pwned", "echo a | xargs -I{} pwned {}", "echo a | xargs -I {} pwned {}", "echo pwned | xargs -I{} {}", "echo pwned | xargs env", "echo a | xargs -P 2 -0 pwned", "echo a | xargs --max-args=1 pwned", "echo a | xargs --max-args 1 pwned", "echo a | xargs -d, pwned", "echo a | xargs -i pwned {}", "echo a | xargs -l pwned", "echo a | xargs -a b.txt pwned",
	"sh -c pwned", "sh -c 'ls; pwned'", "sh -ec pwned", "sh -e -c pwned", "bash -c pwned", "bash -O extglob -c pwned", "bash +O extglob -c pwned", "bash -o errexit -c pwned", "bash -eo errexit -c pwned", "bash -co errexit pwned", "bash --norc -c pwned", "bash --noprofile --norc -c pwned", "bash -c -- pwned", "bash -c '$0' pwned", "bash -c '\"$@\"' x pwned", "sh -c '$1' x pwned", "sh -c \"$y\"", "echo pwned | sh", "echo pwned | bash -s", "sh <<E\npwned\nE", "sh <<'E'\npwned\nE", "bash <<< pwned", "bash <<< \"$y\"", "sh -s <<E\npwned\nE", "bash <(echo pwned)", "sh -c 'sh -c pwned'", "env sh -c pwned", "nice env timeout 1 sh -c 'exec pwned'", ". <(echo pwned)", "source <(echo pwned)",
	"echo $(pwned)", "echo `pwned`", "echo \"`pwned`\"", "echo \"$(pwned)\"", "echo ${q:-$(pwned)}", "echo ${q:=`pwned`}", "echo ${x#$(pwned)}", "echo ${x/$(pwned)/b}", "echo $((1+$(pwned;echo 1)))", "echo $((x))", "echo $[x]", "((x))", "let x", "[[ $x -eq 1 ]]", "[[ -v $x ]]", "[[ -v x[$(pwned)] ]]", "test -v \"$x\"", "[ -v \"$x\" ]", "printf -v \"$x\" a", "printf '%s' a$(pwned)", "echo ${x@P}", "q='$(pwned)'; echo ${q@P}", "echo ${!x}", "declare $x=1", "declare \"$x=1\"", "unset \"$x\"", "read \"$x\" <<< 1", "export q=$(pwned)", "local q=$(pwned)", "q=$(pwned)", "q=(a $(pwned))", "q[$(pwned)]=1", "q[x]=1", "echo ${q[x]}", "echo ${#q[x]}", "echo ${x:x}", "mapfile -C pwned -c 1 q <<< a", "mapfile -t \"$x\" <<< a", "compgen -C pwned", "compgen -W '$(pwned)'", "complete -C pwned a", "bind -x '\"a\":pwned'", "enable -n echo", "hash -p pwned ls; ls", "wait -n -p \"$x\"", "getopts a \"$x\"", "[[ a == $(pwned) ]]", "[[ $(pwned) ]]", "[[ a =~ $(pwned) ]]", "[[ a && pwned ]]", "[[ a || pwned ]]", "[[ ! a || pwned ]]", "[[ a > b ]] && pwned",
	"cat <<E\n$(pwned)\nE", "cat <<E\n`pwned`\nE", "cat <<-E\n\t$(pwned)\n\tE", "cat <<E\n${q:-$(pwned)}\nE", "cat <<< $(pwned)", "cat < <(pwned)", "ls > >(pwned)", "ls 2> >(pwned)", "ls &> >(pwned)", "cat <<E1 <<E2\nE1\n$(pwned)\nE2", "cat <<\\E\nE\npwned", "cat <<''\n\npwned", "cat <<E;pwned\nE", "cat <<E\nE\npwned", "cat <<E && pwned\nE",
	"ls #\npwned", "ls # \\\npwned", "ls \\# ; pwned", "ls x#; pwned", "ls '#'; pwned", "ls $#; pwned", "ls ${#}; pwned", "ls \\\n; pwned", "ls \"\n\"; pwned", "ls '\n'\npwned", "ls $'\\''; pwned; ls '", "ls \"\\\"\"; pwned", "ls '\\'; pwned; : '", "ls \\\\; pwned", "ls &>a pwned", "ls >&2 pwned", "ls >a pwned; pwned", ">a pwned", "2>&1 pwned", "<a pwned", "<<E pwned\nE", "q=1 pwned", "q=1 q=2 pwned", "q+=1 pwned", "PATH=\"$PATH\" pwned", "ls;;pwned", "ls;&pwned", "select q in a; do pwned; done <<< 1", "for ((;;)); do pwned; break; done", "for q; do pwned; done; pwned", "for q in a; { pwned; }", "if ls; then :; else :; fi; pwned", "case a in (a) pwned;; esac", "case a in b|a) pwned;& esac", "case a in a) ;; esac; pwned", "{ ls; pwned; } 2>&1", "((1)) && pwned", "((0)) || pwned", "( (pwned) )", "((pwned))", "((ls); pwned)", "$( (pwned) )", "$((pwned))", "echo $((pwned) )", "echo $(( pwned ) )",
	"ls\tpwned\t;\tpwned", "ls;pwned;", "ls&pwned&", ";pwned", "pwned;;", "if pwned", "echo {1..2}; pwned", "echo a{b,c}$(pwned)", "ls -- pwned; pwned --", "a=pwned b=; $a", "IFS=w; q=pawned; $q", "${q:-pwned}", "${q-pwned} a", "\"${q:-pwned}\"", "${x+pwned}", "$(printf pwned)", "$(echo pw)ned", "p\"$q\"wned", "${q}pwned", "''pwned", "\"\"pwned", "$q pwned", "$q$q pwned a", "\"$q\"pwned", "~+/pwned", "pwned=1 pwned", "time ! pwned", "! time pwned", "coproc q { pwned; }", "coproc { pwned; }", "function q() { pwned; }; q", "q () (pwned); q", "q() { ls; } < <(pwned); q", "until pwned; do :; done", "while ls; pwned; do break; done", "elif pwned", "exec 3< <(pwned)", "exec {fd}< <(pwned)", "echo >$(pwned)", "echo > a$(pwned)", "echo <$(pwned)", "cd $(pwned)", "trap -- pwned EXIT", "trap \"$y\" EXIT", "trap pwned DEBUG; ls", "trap pwned ERR; false", "PROMPT_COMMAND=pwned", "PS4='$(pwned)'; set -x; ls", "BASH_ENV=<(echo pwned) bash -c ls", "ENV=a sh -c ls",
	"env -vS'pwned a'", "env -ivS pwned", "env --split=pwned", "env - q=1 pwned", "env -S 'pwned\\_a'", "env -S 'q=1 pwned'", "env -S 'sh -c' pwned", "timeout --kill 1 1 pwned", "timeout -vk 1 1 pwned", "echo a | xargs -iE pwned", "echo a | xargs -rtI {} pwned", "echo a | xargs --max-a 1 pwned", "nice --adj 1 pwned", "stdbuf --out L pwned",
	"<&-q[x]=1", " <&-p``wned", "cat <<E\n${q:-\\\"$\\\n(pwned)}\nE", "bash <<<x pwned", "bash pwned", "sh -- pwned", "ls $\\\n(pwned)", "cat <<E\nx\\\nE\npwned\nE", "cat <<E\nE\\\n\npwned",
}

// rejecting is an oracle whose policy rejects pwned and allows the rest. Wrappers
// are real ones.
func rejecting(t testing.TB) *oracle {
	o := newOracle(t)
	for _, name := range strings.Fields("env nice timeout nohup xargs setsid stdbuf sh bash dash cat") {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(o.stubs, name)
		if err := os.Remove(at); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(real, at); err != nil {
			t.Fatal(err)
		}
	}
	o.judge.Policy = policy(t, `{"default":"allow","rules":[{"command":"pwned *","decision":"reject"}]}`)
	return o
}

// runsRejected reports whether a line that is allowed runs what is rejected.
func (o *oracle) runsRejected(t testing.TB, line string) bool {
	if o.judge.Verdict(run(t, line)).Decision != api.DecideAllow || harmful.MatchString(line) {
		return false
	}
	return slices.ContainsFunc(o.argvs(t, line), func(argv []string) bool { return argv[1] == "pwned" })
}

func TestShellsDoNotRunWhatIsRejected(t *testing.T) {
	o := rejecting(t)
	if argvs := o.argvs(t, "env pwned"); len(argvs) != 2 || argvs[0][1] != "pwned" {
		t.Fatalf("the oracle does not see what a wrapper runs: %q", argvs)
	}
	for _, line := range spellings {
		if o.runsRejected(t, line) {
			t.Errorf("%q is allowed, and runs what is rejected", line)
		}
	}
	random := rand.New(rand.NewPCG(7, 8))
	for range 400 {
		line := spellings[random.IntN(len(spellings))]
		for range 1 + random.IntN(3) {
			at := random.IntN(len(line) + 1)
			line = line[:at] + build([]byte{byte(random.IntN(256))}) + line[at:]
		}
		if o.runsRejected(t, line) {
			t.Errorf("%q is allowed, and runs what is rejected", line)
		}
	}
}

// TestSpellingsAreNotAllowed has the same lines meet a policy that allows only
// other commands.
func TestSpellingsAreNotAllowed(t *testing.T) {
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"},{"command":"echo *","decision":"allow"},{"command":"cat *","decision":"allow"},{"kind":"edit","decision":"allow"},{"kind":"read","decision":"allow"}]}`)
	o := newOracle(t)
	o.judge = permission.Judge{Policy: p, Dir: o.work}
	for _, line := range spellings {
		if o.runsRejected(t, line) {
			t.Errorf("%q is allowed, and runs what no rule allows", line)
		}
	}
}

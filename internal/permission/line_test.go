package permission_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

const (
	ask    = api.DecideAsk
	allow  = api.DecideAllow
	reject = api.DecideReject
)

// policy reads a policy as a client writes it.
func policy(t testing.TB, text string) *api.PermissionPolicy {
	t.Helper()
	var p api.PermissionPolicy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	checked, err := permission.Check(&p)
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

// run is a call that runs a line.
func run(t testing.TB, line string) acp.ToolCall {
	t.Helper()
	raw, err := json.Marshal(map[string]string{"command": line})
	if err != nil {
		t.Fatal(err)
	}
	return acp.ToolCall{Kind: acp.ToolExecute, Title: "run", RawInput: raw}
}

// TestLines judges each line by two policies: one that allows ls, git and echo and
// asks about the rest, and one that rejects rm and allows the rest.
func TestLines(t *testing.T) {
	listed := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"},{"command":"git *","decision":"allow"},{"command":"echo *","decision":"allow"}]}`)
	denied := policy(t, `{"default":"allow","rules":[{"command":"rm *","decision":"reject"}]}`)
	dir := t.TempDir()
	for _, test := range []struct {
		line           string
		listed, denied string
	}{
		// Simple commands and what joins them.
		{"ls", allow, allow},
		{"rm -rf x", ask, reject},
		{"rm", ask, reject},
		{"git status", allow, allow},
		{"gitk", ask, allow},
		{"ls; rm x", ask, reject},
		{"ls && rm x", ask, reject},
		{"ls || rm x", ask, reject},
		{"ls | rm x", ask, reject},
		{"ls |& rm x", ask, reject},
		{"ls & rm x", ask, reject},
		{"ls\nrm x", ask, reject},
		{"ls &", allow, allow},
		{"! ls", allow, allow},
		{"! rm x", ask, reject},
		{"ls; git log && echo x | git a || ls & echo y", allow, allow},
		// Compound commands.
		{"(rm x)", ask, reject},
		{"(ls)", allow, allow},
		{"{ rm x; }", ask, reject},
		{"{ ls; }", allow, allow},
		{"if ls; then rm x; fi", ask, reject},
		{"if rm x; then ls; fi", ask, reject},
		{"if ls; then ls; else rm x; fi", ask, reject},
		{"if ls; then ls; elif rm x; then ls; fi", ask, reject},
		{"if ls; then git x; else echo y; fi", allow, allow},
		{"while ls; do rm x; done", ask, reject},
		{"while rm x; do ls; done", ask, reject},
		{"until ls; do rm x; done", ask, reject},
		{"for f in a b; do rm $f; done", ask, reject},
		{"for f in a b; do ls $f; done", allow, allow},
		{"for f in $(rm x); do ls; done", ask, reject},
		{"for PATH in .; do ls; done", ask, ask},
		{"for path in .; do ls; done", ask, ask},
		{"for ((i=0; i<2; i++)); do ls; done", ask, ask},
		{"select f in a; do ls; done", ask, ask},
		{"case $x in a) rm x;; esac", ask, reject},
		{"case $(rm x) in a) ls;; esac", ask, reject},
		{"case a in $(rm x)) ls;; esac", ask, reject},
		{"case a in a) ls;; *) echo y;; esac", allow, allow},
		{"f() { rm x; }; f", ask, reject},
		{"function ls { rm x; }", ask, reject},
		{"ls() { echo x; }; ls", ask, ask},
		{"coproc rm x", ask, reject},
		{"coproc ls", ask, allow},
		{"time rm x", ask, reject},
		{"time ls", ask, allow},
		{"[[ -f x ]] && ls", allow, allow},
		{"[[ -f x ]] && rm x", ask, reject},
		{"[[ $(rm x) ]]", ask, reject},
		{"[[ a && rm = b ]]", ask, reject},
		{"[[ a < b ]]", ask, ask},
		{"[[ (a) ]]", ask, ask},
		{"[[ x -eq y ]] && ls", ask, ask},
		{"[[ -v x ]] && ls", ask, ask},
		{"[[ a =~ b|rm ]] && ls", ask, reject},
		{"[[ a == @(a|$(rm x)) ]] && ls", ask, ask},
		{"(( x )) && ls", ask, ask},
		{"let x=1; ls", ask, ask},
		// Substitutions.
		{"echo $(rm x)", ask, reject},
		{"echo `rm x`", ask, reject},
		{"echo \"$(rm x)\"", ask, reject},
		{"echo '$(rm x)'", allow, allow},
		{"echo \\$(rm x)", ask, ask},
		{"echo $(ls)", allow, allow},
		{"echo $(echo $(rm x))", ask, reject},
		{"echo `echo \\`rm x\\``", ask, reject},
		{"echo <(rm x)", ask, reject},
		{"echo >(rm x)", ask, reject},
		{"echo ${x:-$(rm x)}", ask, reject},
		{"echo ${x:-y}", allow, allow},
		{"echo ${x:=y}", ask, ask},
		{"echo ${x=y}", ask, ask},
		{"echo ${!x}", ask, ask},
		{"echo ${x@P}", ask, ask},
		{"echo ${x[$(rm x)]}", ask, reject},
		{"echo ${x:$(rm x)}", ask, reject},
		{"echo ${x[y]}", ask, ask},
		{"echo ${x:y}", ask, ask},
		{"echo ${x/a/$(rm x)}", ask, reject},
		{"echo $((1 + 2))", allow, allow},
		{"echo $((x))", ask, ask},
		{"echo $(( $(rm x) ))", ask, reject},
		{"echo $[x]", ask, ask},
		{"echo $x \"$y\" $@ $?", allow, allow},
		// The word that names the program.
		{"\\rm x", ask, reject},
		{"r\\m x", ask, reject},
		{"'rm' x", ask, reject},
		{"'r'm x", ask, reject},
		{"r\"m\" x", ask, reject},
		{"\"l\"s", allow, allow},
		{"ls \"a\\\"b\" \"\\$x\" \"a\\\nb\" \"\\x\"", allow, allow},
		{"\"r\\\nm\" x", ask, reject},
		{"ls x\\", allow, allow},
		{"/bin/rm x", ask, reject},
		{"../../bin/rm x", ask, reject},
		{"./rm x", ask, reject},
		{"./ls", ask, allow},
		{"/bin/ls", ask, allow},
		{"r\\\nm x", ask, reject},
		{"$x y", ask, ask},
		{"r$@m x", ask, ask},
		{"${x}rm y", ask, ask},
		{"\"$x\" y", ask, ask},
		{"$(echo rm) x", ask, ask},
		{"`echo rm` x", ask, ask},
		{"{rm,-rf,x}", ask, ask},
		{"r[m] x", ask, ask},
		{"r? x", ask, ask},
		{"r* x", ask, ask},
		{"~/rm x", ask, ask},
		{"$'rm' x", ask, ask},
		{"$'\\x72m' x", ask, ask},
		{"$\"rm\" x", ask, ask},
		{"=rm x", ask, ask},
		{"x=1", ask, ask},
		{"x=1 ls", ask, ask},
		{"x=1 rm y", ask, reject},
		{"PATH=. ls", ask, ask},
		{"x=$(rm x)", ask, reject},
		{"x=(a $(rm x))", ask, reject},
		{"x+=1 ls", ask, ask},
		// Builtins that run or rename code.
		{"eval ls", ask, ask},
		{"eval 'rm x'", ask, reject},
		{"eval \"$x\"", ask, ask},
		{". ./x", ask, ask},
		{"source x", ask, ask},
		{"trap 'rm x' EXIT", ask, reject},
		{"trap ls EXIT", ask, ask},
		{"alias ls='rm x'", ask, reject},
		{"hash -p /bin/rm ls", ask, ask},
		{"exec ls", ask, ask},
		{"exec rm x", ask, reject},
		{"export PATH=.", ask, ask},
		{"declare -x PATH=.", ask, ask},
		{"read PATH", ask, ask},
		{"printf -v 'a[$(rm x)]' y", ask, ask},
		{"printf x", ask, allow},
		{"test -v 'a[$(rm x)]'", ask, ask},
		{"[ -v 'a[$(rm x)]' ]", ask, ask},
		{"test $x y", ask, ask},
		{"test -f x", ask, allow},
		{"enable -n ls", ask, ask},
		{"command eval ls", ask, ask},
		{"builtin eval ls", ask, ask},
		// Wrappers.
		{"command rm x", ask, reject},
		{"command -p rm x", ask, reject},
		{"command -v rm", ask, allow},
		{"command ls", ask, allow},
		{"builtin ls", ask, allow},
		{"env rm x", ask, reject},
		{"env ls", ask, allow},
		{"env -i A=b C=d rm x", ask, reject},
		{"env -u A rm x", ask, reject},
		{"env -S 'rm x'", ask, reject},
		{"env --split-string='rm x'", ask, reject},
		{"env A=rm ls", ask, allow},
		{"/usr/bin/env rm x", ask, reject},
		{"nice rm x", ask, reject},
		{"nice -n 5 rm x", ask, reject},
		{"nice -5 rm x", ask, reject},
		{"nice --adjustment 5 rm x", ask, reject},
		{"nohup rm x", ask, reject},
		{"timeout 5 rm x", ask, reject},
		{"timeout -s KILL -k 1 5 rm x", ask, reject},
		{"timeout --signal=KILL 5 rm x", ask, reject},
		{"timeout 5 echo rm x", ask, allow},
		{"xargs rm", ask, reject},
		{"xargs -n 1 -I{} rm {}", ask, reject},
		{"echo x | xargs -0 -r rm", ask, reject},
		{"xargs echo", ask, allow},
		{"sudo rm x", ask, reject},
		{"sudo -u root -- rm x", ask, reject},
		{"sudo -n A=b rm x", ask, reject},
		{"sudo $x rm y", ask, reject},
		{"busybox rm x", ask, reject},
		{"busybox sh -c 'rm x'", ask, reject},
		{"time -p rm x", ask, reject},
		{"/usr/bin/time -o f rm x", ask, reject},
		{"strace -f rm x", ask, reject},
		{"watch 'rm x'", ask, reject},
		{"find . -exec rm {} +", ask, reject},
		{"find . -name rm", ask, allow},
		{"sh -c 'rm x'", ask, reject},
		{"bash -lc 'rm x'", ask, reject},
		{"dash -e -c 'rm x'", ask, reject},
		{"zsh -o errexit -c 'rm x'", ask, reject},
		{"bash --norc -c 'ls; rm x'", ask, reject},
		{"bash -c 'bash -c \"rm x\"'", ask, reject},
		{"sh -c ls", ask, allow},
		{"sh -c \"$x\"", ask, ask},
		{"sh $x", ask, ask},
		{"sh -c \"echo $x\"", ask, ask},
		{"sh", ask, ask},
		{"echo x | sh", ask, ask},
		{"sh <<E\nrm x\nE", ask, reject},
		{"bash <<< 'rm x'", ask, reject},
		{"bash -s < x", ask, ask},
		{"bash x.sh", ask, allow},
		{"bash ./rm x", ask, reject},
		{"fish -c 'ls'", ask, ask},
		{"fish --command 'rm x'", ask, reject},
		{"sh -- x", ask, allow},
		{"bash --rcfile x -c 'rm x'", ask, reject},
		{"bash -c $x", ask, ask},
		{"bash -o pipefail -c 'rm x'", ask, reject},
		{"bash +x -c 'rm x'", ask, reject},
		{"env -S \"$x\"", ask, ask},
		{"env -S'rm x'", ask, reject},
		{"env -iu A rm x", ask, reject},
		{"sudo -nu root rm x", ask, reject},
		{"sudo -l rm", ask, allow},
		{"su -c 'rm x' root", ask, reject},
		{"flock f -c 'rm x'", ask, reject},
		{"flock f rm x", ask, reject},
		{"chroot . rm x", ask, reject},
		{"stdbuf -oL rm x", ask, reject},
		{"script -c 'rm x' f", ask, reject},
		{"find . -exec sh -c 'rm {}' ';'", ask, ask},
		{"find . -exec rm x", ask, reject},
		{"env sudo nice timeout 1 sh -c 'nohup rm x'", ask, reject},
		// Words that are no program.
		{"echo rm x", allow, allow},
		{"ls rm", allow, allow},
		{"# rm x", ask, allow},
		{"ls # rm x", allow, allow},
		{"ls \\# ; rm x", ask, reject},
		{"ls x#; rm y", ask, reject},
		{"echo 'a; rm x'", allow, allow},
		{"git commit -m \"rm; x\"", allow, allow},
		{"echo <<E\nrm x\nE", allow, allow},
		{"echo <<E\n$(rm x)\nE", ask, reject},
		{"echo <<'E'\n$(rm x)\nE", allow, allow},
		{"echo <<E\nx\nE\nrm y", ask, reject},
		{"echo <<< $(rm x)", ask, reject},
		// What cannot be read.
		{"ls 'x", ask, ask},
		{"ls )", ask, ask},
		{"ls &&", ask, ask},
		{"ls\r", ask, ask},
		{"ls\x00", ask, ask},
		{"ls\u00a0x", ask, ask},
		{"ls \ufffd", ask, ask},
		{"ls " + strings.Repeat("é ", 150), allow, allow},
		{"ls \u202e", ask, ask},
		{"ls \x1b[0m", ask, ask},
		{"", ask, ask},
		{"   ", ask, ask},
	} {
		for i, p := range []*api.PermissionPolicy{listed, denied} {
			want := []string{test.listed, test.denied}[i]
			v := permission.Judge{Policy: p, Dir: dir}.Verdict(run(t, test.line))
			if v.Decision != want {
				t.Errorf("%q: %s under policy %d, want %s: %s", test.line, v.Decision, i, want, v.Reason)
			}
		}
	}
}

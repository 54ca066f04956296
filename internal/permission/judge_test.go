package permission_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// TestStrictestRuleWins puts rules in every order, into the policy and among what
// is remembered.
func TestStrictestRuleWins(t *testing.T) {
	rules := []api.PermissionRule{
		{ID: "allows", Kind: acp.ToolEdit, Decision: allow},
		{ID: "asks", Path: "a*", Decision: ask},
		{ID: "rejects", Path: "*.txt", Decision: reject},
	}
	for _, test := range []struct {
		path, want, rule string
		beaten           int
	}{
		{"a.txt", reject, "rejects", 2}, {"a.go", ask, "asks", 1}, {"b.txt", reject, "rejects", 1}, {"b.go", allow, "allows", 0},
	} {
		for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			for split := range 4 {
				j := permission.Judge{Policy: &api.PermissionPolicy{Default: api.DefaultDecision(reject)}, Dir: "/w"}
				for i, n := range order {
					if i < split {
						j.Policy.Rules = append(j.Policy.Rules, rules[n])
					} else {
						j.Remembered = append(j.Remembered, rules[n])
					}
				}
				v := j.Verdict(acp.ToolCall{Kind: acp.ToolEdit, Locations: []acp.Location{{Path: test.path}}})
				if v.Decision != test.want || v.Rule == nil || v.Rule.ID != test.rule || len(v.Beaten) != test.beaten {
					t.Fatalf("%s with rules in order %v, %d of them of the policy: %+v", test.path, order, split, v)
				}
			}
		}
	}
}

func TestDefaultOfEachKind(t *testing.T) {
	p := policy(t, `{"default":{"execute":"ask","edit":"allow","read":"reject","*":"ask"}}`)
	for text, want := range map[string]string{
		`{"kind":"edit","rawInput":{"path":"a"}}`:                                         allow,
		`{"kind":"read","rawInput":{"path":"a"}}`:                                         reject,
		`{"kind":"execute","rawInput":{"command":"ls"}}`:                                  ask,
		`{"kind":"fetch","rawInput":{"url":"https://a/b"}}`:                               ask,
		`{"kind":"edit","rawInput":{"command":"ls","path":"a"}}`:                          ask,    // a command, whatever it is called
		`{"kind":"execute","rawInput":{"command":"ls < a"}}`:                              reject, // it reads a file
		`{"kind":"read","content":[{"type":"diff","path":"a","newText":""}]}`:             reject, // the agent's word makes it stricter
		`{"kind":"other","rawInput":{"path":"a","content":"x"}}`:                          ask,
		`{"kind":"search","content":[{"type":"diff","path":"a","newText":"","x":[1,2]}]}`: ask,
	} {
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(call(t, text, "/w")); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", text, v.Decision, want, v.Reason)
		}
	}
	if v := (permission.Judge{Dir: "/w"}).Verdict(call(t, `{"kind":"read"}`, "/w")); v.Decision != ask {
		t.Errorf("without a policy: %+v", v)
	}
}

// TestNotUnderstood has lines that cannot be judged meet policies that could be
// against them, and policies that could not.
func TestNotUnderstood(t *testing.T) {
	for _, test := range []struct{ policy, line, want string }{
		{`{"default":"allow"}`, "eval $x", allow},
		{`{"default":"ask"}`, "eval $x", ask},
		{`{"default":"reject"}`, "eval $x", reject},
		{`{"default":"allow","rules":[{"command":"rm *","decision":"reject"}]}`, "eval $x", ask},
		{`{"default":"allow","rules":[{"command":"rm *","decision":"ask"}]}`, "eval $x", ask},
		{`{"default":"allow","rules":[{"kind":"execute","command":"rm *","decision":"reject"}]}`, "$x", ask},
		{`{"default":"allow","rules":[{"path":"secret","decision":"reject"}]}`, "$x", ask},
		{`{"default":"allow","rules":[{"kind":"edit","path":"secret","decision":"reject"}]}`, "$x", ask},
		{`{"default":"allow","rules":[{"kind":"fetch","decision":"reject"}]}`, "$x", allow},
		{`{"default":"allow","rules":[{"kind":"execute","decision":"reject"}]}`, "$x", reject},
		{`{"default":"allow","rules":[{"kind":"execute","decision":"ask"}]}`, "ls", ask},
		{`{"default":{"execute":"allow","*":"ask"}}`, "x=1 ls", allow},
		{`{"default":{"execute":"allow","*":"ask"}}`, "eval ls", ask},
		{`{"default":{"execute":"allow","edit":"reject","read":"allow"}}`, "eval ls", ask},
		{`{"default":"ask","rules":[{"command":"*","decision":"allow"}]}`, "x=1 ls", ask},
		{`{"default":"ask","rules":[{"command":"*","decision":"allow"}]}`, "ls", allow},
		{`{"default":"ask","rules":[{"kind":"execute","decision":"allow"}]}`, "ls", ask},
		{`{"default":"ask","rules":[{"path":"**","decision":"allow"}]}`, "ls ./a", ask},
		{`{"default":"ask","rules":[{"command":"ls *","path":"src/**","decision":"allow"}]}`, "ls ./src/a", allow},
		{`{"default":"ask","rules":[{"command":"ls *","path":"src/**","decision":"allow"}]}`, "ls ./src/a ./doc", ask},
		{`{"default":"ask","rules":[{"command":"ls *","path":"src/**","decision":"allow"}]}`, "ls", ask},
	} {
		j := permission.Judge{Policy: policy(t, test.policy), Dir: t.TempDir()}
		if v := j.Verdict(run(t, test.line)); v.Decision != test.want {
			t.Errorf("%s under %s: %s, want %s: %s", test.line, test.policy, v.Decision, test.want, v.Reason)
		}
	}
}

// TestRedirections judges what a line writes and reads as edits and reads.
func TestRedirections(t *testing.T) {
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"},{"kind":"edit","path":"src/**","decision":"allow"},{"kind":"edit","path":"src/no","decision":"reject"},{"kind":"read","path":"in/**","decision":"allow"}]}`)
	dir := t.TempDir()
	tree(t, dir, "src/", "in/", "src/out -> ..")
	for line, want := range map[string]string{
		"ls > src/a": allow, "ls >> src/a": allow, "ls >| src/a": allow, "ls &> src/a": allow, "ls &>> src/a": allow, "ls <> src/a": allow, "ls 2> src/a": allow, "ls >& src/a": allow,
		"ls > src/no": reject, "ls >> src/no": reject, "ls >| src/no": reject, "ls &> src/no": reject, "ls &>> src/no": reject, "ls <> src/no": reject, "ls 2> src/no": reject, "ls >& src/no": reject,
		"ls > b": ask, "ls > src/../b": ask, "ls > src/out/b": ask, "ls > \"src/a\"": allow, "ls > $x": ask, "ls > src/*": ask, "ls > ~/a": ask, "> src/a": ask,
		"ls > /dev/null": allow, "ls 2>&1": allow, "ls >&2": allow, "ls 2>&-": allow, "ls <&0": allow, "ls >&$x": ask, "ls > /dev/tcp/h/1": ask, "ls {x}> src/a": ask,
		"ls < in/a": allow, "ls < src/a": ask, "ls < $x": ask, "ls <<E\nE": allow, "ls <<< x": allow,
		"{ ls; } > src/no": reject, "(ls) > src/a": allow, "while ls; do ls; done > src/no": reject, "ls &> src/a rm x": ask, "cd src; ls > a": ask,
		"sh -c 'ls > src/no'": reject,
	} {
		if v := (permission.Judge{Policy: p, Dir: dir}).Verdict(run(t, line)); v.Decision != want {
			t.Errorf("%q: %s, want %s: %s", line, v.Decision, want, v.Reason)
		}
	}
}

// TestCommandShapes gives the same commands as agents do: a line, words, words and
// arguments, in other objects, by other keys.
func TestCommandShapes(t *testing.T) {
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"},{"command":"rm *","decision":"reject"}]}`)
	for input, want := range map[string]string{
		`{"command":"ls -l"}`: allow, `{"cmd":"ls -l"}`: allow, `{"command":["ls","-l"]}`: allow, `{"command":"ls","args":["-l"]}`: allow, `{"command":["ls"],"args":["-l"]}`: allow,
		`{"command":"rm x"}`: reject, `{"command":["rm","x"]}`: reject, `{"command":"rm","args":["x"]}`: reject, `{"CommandLine":"rm x"}`: reject, `{"shell_command":"rm x"}`: reject, `{"argv":["rm","x"]}`: reject,
		`{"command":["ls; rm x"]}`: reject, `{"command":["ls",";","rm"]}`: allow, `{"command":"ls","args":["; rm x"]}`: allow, `{"command":"ls","args":"; rm x"}`: reject,
		`{"command":"ls;","args":["rm"]}`: reject, `{"command":"ls; rm","args":["x"]}`: reject, `{"command":"","args":["rm"]}`: reject,
		`{"command":"bash","args":["-c","ls"]}`: ask, `{"command":"bash","args":["-c","rm x"]}`: reject, `{"command":["/bin/bash","-lc","rm x"]}`: reject, `{"command":["env","rm","x"]}`: reject,
		`{"tool":{"input":{"command":"rm x"}}}`: reject, `{"arguments":"{\"command\":\"rm x\"}"}`: reject, `{"commands":["ls","rm x"]}`: reject, `{"commands":["ls","ls -l"]}`: allow,
		`{"commands":[{"command":"rm x"}]}`: reject, `{"command":{"cmd":"rm x"}}`: reject, `{"command":"ls","cmd":"rm x"}`: reject, `{"command":"ls","command":"rm x"}`: reject, `{"command":"rm x","command":"ls"}`: reject,
		`{"command":7}`: ask, `{"command":true}`: ask, `{"command":null}`: ask, `{"command":["ls",7]}`: ask, `{}`: ask, `"rm x"`: ask, `{"command":[]}`: ask, `{"command":{}}`: ask,
		`{"command":"ls","cwd":"/"}`: allow, `{"command":"ls","cwd":"/","workdir":"/tmp"}`: ask, `{"command":["ls"],"args":"-l; rm x"}`: reject,
	} {
		c := acp.ToolCall{Kind: acp.ToolExecute, RawInput: json.RawMessage(input)}
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(c); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", input, v.Decision, want, v.Reason)
		}
	}
	deep := strings.Repeat(`{"x":`, 100) + `"rm"` + strings.Repeat("}", 100)
	if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(acp.ToolCall{Kind: acp.ToolRead, RawInput: json.RawMessage(deep)}); v.Decision != ask || len(v.NotUnderstood) == 0 {
		t.Errorf("input that nests too deep: %+v", v)
	}
	if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(acp.ToolCall{Kind: acp.ToolRead, RawInput: json.RawMessage(`{"a":`)}); v.Decision != ask || len(v.NotUnderstood) == 0 {
		t.Errorf("input that is not JSON: %+v", v)
	}
	many, _ := json.Marshal(map[string][]string{"paths": strings.Split(strings.Repeat("a,", 2000), ",")})
	for i, text := range []string{string(many), strings.ReplaceAll(string(many), `"a"`, `"/a"`)} {
		v := permission.Judge{Policy: p, Dir: "/w"}.Verdict(acp.ToolCall{Kind: acp.ToolRead, RawInput: json.RawMessage(text)})
		if len(v.NotUnderstood) == 0 {
			t.Errorf("input %d with too many paths: %+v", i, v)
		}
	}
}

func TestLongAndDeepLines(t *testing.T) {
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"}]}`)
	nested := "ls"
	for range 12 {
		nested = "bash -c " + "'" + strings.ReplaceAll(nested, "'", `'\''`) + "'"
	}
	for name, line := range map[string]string{
		"long":         "ls " + strings.Repeat("a", 70000),
		"parentheses":  strings.Repeat("(", 30000),
		"substitution": strings.Repeat("$(", 20000),
		"ifs":          strings.Repeat("if ", 20000),
		"quotes":       strings.Repeat("\"$(", 15000),
		"backquotes":   strings.Repeat("`", 30001),
		"arithmetic":   strings.Repeat("$((", 15000),
		"braces":       strings.Repeat("{ ", 20000),
		"shells":       nested,
		"wrappers":     strings.Repeat("env ", 15000) + "ls",
		"evals":        strings.Repeat("eval ", 12) + "ls",
		"many evals":   strings.Repeat("eval x;", 5000),
		"unsure":       strings.Repeat("unshare ", 8000) + "ls",
	} {
		v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(run(t, line))
		if v.Decision != ask || len(v.NotUnderstood) == 0 {
			t.Errorf("%s: %s, %d acts not understood", name, v.Decision, len(v.NotUnderstood))
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, line string
		want          string
	}{
		{"git *", "git", allow}, {"git *", "git a b", allow}, {"git", "git a", ask}, {"git", "git", allow},
		{"git push*", "git push", allow}, {"git push*", "git push-x", allow}, {"git push*", "git push x", ask},
		{"npm run test:*", "npm run test:unit", allow}, {"npm run test:*", "npm run test:unit x", ask},
		{"* --version", "x --version", allow}, {"* --version", "a b --version", allow}, {"* --version", "--version", allow},
		{"a*c*e x", "abcde x", allow}, {"a*c*e x", "abde x", ask}, {"a*a", "a", ask},
		{"echo '*'", "echo '*'", allow}, {"echo '*'", "echo x", ask}, {`echo \*`, "echo '*'", allow},
		{"echo 'a b'", "echo 'a b'", allow}, {"echo 'a b'", "echo a b", ask}, {`echo "a b"`, `echo a\ b`, allow},
		{"echo 'a'\\''b'", `echo "a'b"`, allow},
		{"rm * --dry-run", "rm $x --dry-run", allow}, {"rm --dry-run *", "rm $x", ask}, {"rm -- *", "rm -- $x *", allow}, {"rm x *", "rm \"$y\"", ask}, {"rm * x", "rm \"$y\" x", allow},
		{"time *", "time ls", ask}, // and ls
		{"/bin/ls *", "/bin/ls x", allow}, {"/bin/ls *", "ls x", ask}, {"ls *", "/bin/ls x", ask},
		{"a && b", "a && b", allow}, {"a && b", "a; b", ask}, {"a && b", "a", ask}, {"a && b", "a && b && c", ask}, {"a | b *; c", "a | b x y; c", allow}, {"a && b", "(a && b)", ask},
		{"a; b", "a\nb", allow},
	} {
		text, err := json.Marshal(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		p := policy(t, `{"default":"ask","rules":[{"decision":"allow","command":`+string(text)+`}]}`)
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(run(t, test.line)); v.Decision != test.want {
			t.Errorf("%q and %q: %s, want %s: %s", test.pattern, test.line, v.Decision, test.want, v.Reason)
		}
	}
	for _, test := range []struct{ pattern, line, want string }{
		{"/bin/rm *", "rm x", reject}, {"rm *", "/usr/local/bin/rm x", reject}, {"rm -rf *", "rm $x", ask}, {"rm -rf *", "rm -i x", allow}, {"rm x", "rm \"$y\"", ask}, {"rm x", "rm", allow},
		{"rm x", "rm $y", ask}, {"rm *", "rm \"$@\"", reject}, {"rm x", "rm \"$@\"", ask}, {"curl * | sh", "a; curl x | sh", reject}, {"curl * | sh", "curl x | bash", ask}, {"curl * | cat", "curl x; cat", allow},
		{"curl * | cat", "/bin/curl x | /bin/cat", reject}, {"*", "ls", reject},
	} {
		text, err := json.Marshal(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		p := policy(t, `{"default":"allow","rules":[{"decision":"reject","command":`+string(text)+`}]}`)
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(run(t, test.line)); v.Decision != test.want {
			t.Errorf("reject %q and %q: %s, want %s: %s", test.pattern, test.line, v.Decision, test.want, v.Reason)
		}
	}
}

// TestProgramByLink rejects a program that is called by a link to it.
func TestProgramByLink(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "bin/rm", "other -> bin/rm")
	p := policy(t, `{"default":"allow","rules":[{"decision":"reject","command":"rm *"}]}`)
	if v := (permission.Judge{Policy: p, Dir: dir}).Verdict(run(t, "./other x")); v.Decision != reject {
		t.Errorf("%+v", v)
	}
}

func TestCheckRefuses(t *testing.T) {
	for _, text := range []string{
		`{"default":"maybe"}`, `{"default":{"edits":"allow"}}`, `{"default":{"edit":"yes"}}`, `{"rules":[{"decision":"permit","kind":"edit"}]}`, `{"rules":[{"decision":"allow","kind":"bash"}]}`,
		`{"rules":[{"decision":"allow"}]}`, `{"rules":[{"decision":"allow","path":"a["}]}`, `{"rules":[{"decision":"allow","command":"echo $x"}]}`, `{"rules":[{"decision":"reject","command":"echo > x"}]}`,
		`{"rules":[{"decision":"reject","command":"# x"}]}`, `{"rules":[{"decision":"reject","command":"  "}]}`, `{"rules":[{"decision":"reject","command":"a 'b"}]}`, `{"rules":[{"decision":"reject","command":"a\u0000"}]}`,
		`{"rules":[{"decision":"reject","command":"a & b"}]}`, `{"rules":[{"decision":"reject","command":"x=1"}]}`, `{"rules":[{"decision":"reject","command":"echo \"$x\""}]}`, `{"rules":[{"decision":"reject","command":"echo $'x'"}]}`,
	} {
		var p api.PermissionPolicy
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if _, err := permission.Check(&p); !errors.Is(err, api.CodeInvalidPermissionRule) {
			t.Errorf("%s: %v", text, err)
		}
	}
	p, err := permission.Check(nil)
	if err != nil || p.Default.For(acp.ToolRead) != ask {
		t.Errorf("no policy: %+v, %v", p, err)
	}
	in := api.PermissionPolicy{Rules: []api.PermissionRule{{Decision: ask}, {ID: "mine", Decision: reject}}, ExpireAfter: 5}
	p, err = permission.Check(&in)
	if err != nil || p.Rules[0].ID == "" || p.Rules[1].ID != "mine" || in.Rules[0].ID != "" || p.ExpireAfter != 5 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestUnreadablePatternFailsClosed has a rule that an earlier build accepted.
func TestUnreadablePatternFailsClosed(t *testing.T) {
	for decision, want := range map[string]string{allow: reject, ask: ask, reject: ask} {
		d := allow
		if decision == allow {
			d = reject
		}
		j := permission.Judge{Dir: "/w", Policy: &api.PermissionPolicy{Default: api.DefaultDecision(d), Rules: []api.PermissionRule{{Command: "echo $x*", Decision: decision}}}}
		if v := j.Verdict(run(t, "ls")); v.Decision != want {
			t.Errorf("a command and a rule that says %s: %s: %s", decision, v.Decision, v.Reason)
		}
		if v := j.Verdict(acp.ToolCall{Kind: acp.ToolEdit, Locations: []acp.Location{{Path: "a"}}}); v.Decision != d {
			t.Errorf("an edit and a rule that says %s: %s: %s", decision, v.Decision, v.Reason)
		}
	}
}

func TestForget(t *testing.T) {
	edit, run, any := api.PermissionRule{ID: "edit", Kind: acp.ToolEdit}, api.PermissionRule{ID: "run", Kind: acp.ToolExecute}, api.PermissionRule{ID: "any"}
	for _, test := range []struct {
		old, next api.PermissionDefault
		dropped   []api.PermissionRule
	}{
		{nil, api.DefaultDecision(ask), nil},
		{api.DefaultDecision(ask), api.DefaultDecision(reject), []api.PermissionRule{edit, run, any}},
		{api.DefaultDecision(reject), api.DefaultDecision(allow), nil},
		{api.DefaultDecision(ask), api.PermissionDefault{"execute": reject, "*": ask}, []api.PermissionRule{run, any}},
		{api.PermissionDefault{"edit": allow}, api.DefaultDecision(ask), []api.PermissionRule{edit, any}},
	} {
		kept, dropped := permission.Forget([]api.PermissionRule{edit, run, any}, test.old, test.next)
		if !reflect.DeepEqual(dropped, test.dropped) || len(kept)+len(dropped) != 3 {
			t.Errorf("from %v to %v: dropped %v", test.old, test.next, dropped)
		}
	}
}

func TestUnattended(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "w")
	tree(t, outer, "w/a", "w/out -> DIR/x", "x/")
	p, err := permission.Check(permission.Unattended())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"kind":"read","rawInput":{"path":"/etc/hosts"}}`: allow, `{"kind":"search","rawInput":{"pattern":"x"}}`: allow, `{"kind":"think"}`: allow,
		`{"kind":"edit","rawInput":{"path":"a"}}`: allow, `{"kind":"edit","rawInput":{"path":"new/b.go"}}`: allow, `{"kind":"delete","rawInput":{"path":"a"}}`: allow, `{"kind":"move","rawInput":{"from":"a","to":"b"}}`: allow,
		`{"kind":"edit","rawInput":{"path":"OUT/x/f"}}`: reject, `{"kind":"edit","rawInput":{"path":"out/f"}}`: reject, `{"kind":"edit"}`: reject, `{"kind":"move","rawInput":{"from":"a","to":"/etc/x"}}`: reject,
		`{"kind":"edit","rawInput":{"path":".git/hooks/pre-commit"}}`: reject, `{"kind":"edit","rawInput":{"path":"sub/.git/config"}}`: reject, `{"kind":"delete","rawInput":{"path":".git"}}`: reject,
		`{"kind":"edit","rawInput":{"path":".claude/settings.json"}}`: reject, `{"kind":"edit","rawInput":{"path":".envrc"}}`: reject, `{"kind":"edit","rawInput":{"path":"x/.vscode/tasks.json"}}`: reject, `{"kind":"edit","rawInput":{"path":"opencode.json"}}`: reject,
		`{"kind":"edit","rawInput":{"path":"AGENTS.md"}}`: allow, `{"kind":"edit","rawInput":{"path":".github/workflows/ci.yml"}}`: allow, `{"kind":"edit","rawInput":{"path":".gitignore"}}`: allow,
		`{"kind":"execute","rawInput":{"command":"ls"}}`: reject, `{"kind":"fetch","rawInput":{"url":"https://a/b"}}`: reject, `{"kind":"other"}`: reject, `{"kind":"read","rawInput":{"command":"ls"}}`: reject,
	} {
		if v := (permission.Judge{Policy: p, Dir: dir}).Verdict(call(t, text, dir)); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", text, v.Decision, want, v.Reason)
		}
	}
}

// TestVariablesOfACommand gives commands variables outside of their lines.
func TestVariablesOfACommand(t *testing.T) {
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","decision":"allow"}]}`)
	for text, want := range map[string]string{
		`{"kind":"execute","rawInput":{"command":"ls","env":{"LD_PRELOAD":"./x.so"}}}`:                      ask,
		`{"kind":"execute","rawInput":{"command":["ls"],"environment":["PATH=."]}}`:                         ask,
		`{"kind":"execute","rawInput":{"command":"ls","options":{"env_vars":"A=1"}}}`:                       ask,
		`{"kind":"execute","rawInput":{"command":"ls","env":{},"environment":[],"envVars":"","envs":null}}`: allow,
	} {
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(call(t, text, "/w")); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", text, v.Decision, want, v.Reason)
		}
	}
}

// TestNamesOfCommands has a command stand under the names that tools give it.
func TestNamesOfCommands(t *testing.T) {
	p := policy(t, `{"default":"allow","rules":[{"command":"rm *","decision":"reject"}]}`)
	for text, want := range map[string]string{
		`{"rawInput":{"script":"true; rm x"}}`:                            reject,
		`{"rawInput":{"program":"/bin/rm","args":["x"]}}`:                 reject,
		`{"rawInput":{"executable":"bash","arguments":["-c","rm x"]}}`:    reject,
		`{"rawInput":{"steps":[{"run":"ls"},{"run":"rm x"}]}}`:            reject,
		`{"rawInput":{"exe":"rm","argv":["rm","x"]}}`:                     reject,
		`{"kind":"other","rawInput":{"arguments":"{\"bash\":\"rm x\"}"}}`: reject,
		`{"rawInput":{"run":true}}`:                                       allow,
		`{"rawInput":{"script":{"name":"x"}}}`:                            allow,
	} {
		if v := (permission.Judge{Policy: p, Dir: "/w"}).Verdict(call(t, text, "/w")); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", text, v.Decision, want, v.Reason)
		}
	}
}

package permission_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// TestAlwaysRemembersCommands replies always to a command, and has the same and
// other commands judged afterwards.
func TestAlwaysRemembersCommands(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ line, again, other string }{
		{"make test", "make test", "make"},
		{"make test", "make   'test' # again", "make test x"},
		{"git commit -m 'a b'", `git commit -m "a b"`, "git commit -m a b"},
		{"echo '*'", `echo \*`, "echo x"},
		{"echo \"it's\"", `echo it\'s`, "echo its"},
		{"npm ci && npm test", "npm ci &&   npm test", "npm test"},
		{"npm ci && npm test", "npm ci && npm test", "npm test && npm ci"},
		{"a | b; c", "a | b; c", "a | b && c"},
		{"./run.sh x", "./run.sh x", "/run.sh x"},
		{"bash x.sh a", "bash x.sh a", "bash y.sh a"},
		{"python3 x.py", "python3 x.py", "python3 y.py"},
		{"git status", "git status; git status", "git status; git push"},
		{"echo ''", "echo \"\"", "echo"},
	} {
		j := permission.Judge{Dir: dir}
		choices, why := j.Always(run(t, test.line))
		if len(choices) != 1 || choices[0].Scope != api.AlwaysExact || !strings.Contains(choices[0].Text, "every word equal") {
			t.Errorf("%q: %+v, %s", test.line, choices, why)
			continue
		}
		if _, err := permission.Check(&api.PermissionPolicy{Rules: []api.PermissionRule{choices[0].Rule}}); err != nil {
			t.Errorf("%q: %v", test.line, err)
		}
		j.Remembered = []api.PermissionRule{choices[0].Rule}
		if v := j.Verdict(run(t, test.line)); v.Decision != allow {
			t.Errorf("%q after its rule %+v: %s", test.line, choices[0].Rule, v.Reason)
		}
		if v := j.Verdict(run(t, test.again)); v.Decision != allow {
			t.Errorf("%q after %q: %s", test.again, test.line, v.Reason)
		}
		if v := j.Verdict(run(t, test.other)); v.Decision != ask {
			t.Errorf("%q after %q: %s: %s", test.other, test.line, v.Decision, v.Reason)
		}
	}
}

func TestAlwaysRemembersFiles(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "src/sub/", "src/a[1].go", "src/link -> ../doc", "doc/")
	type choice struct{ exact, directory string }
	for _, test := range []struct {
		call string
		want choice
		yes  []string // paths that are allowed afterwards in the directory
		no   []string
	}{
		{`{"kind":"edit","rawInput":{"path":"src/x.go","content":""}}`, choice{"src/x.go", "src/*"}, []string{"src/y.go"}, []string{"src/sub/y.go", "x.go", "src/.envrc"}},
		{`{"kind":"edit","rawInput":{"path":"x.go"}}`, choice{"x.go", "*"}, []string{"y.go"}, []string{"src/y.go", ".envrc", "opencode.json"}},
		{`{"kind":"read","rawInput":{"path":"OUT/f"}}`, choice{"OUT/f", "OUT/*"}, []string{"OUT/g"}, []string{"g"}},
		{`{"kind":"edit","rawInput":{"path":"src/a[1].go"}}`, choice{`src/a\[1\].go`, "src/*"}, []string{"src/b"}, []string{"doc/a1.go"}},
		{`{"kind":"edit","rawInput":{"path":"src/link"}}`, choice{"{doc,src/link}", "{*,src/*}"}, nil, nil},
		{`{"kind":"delete","rawInput":{"path":"src/x.go"}}`, choice{"src/x.go", ""}, nil, []string{"src/y.go"}},
		{`{"kind":"edit","locations":[{"path":"a"},{"path":"src/b"}]}`, choice{"{a,src/b}", "{*,src/*}"}, []string{"c", "src/c"}, []string{"doc/c"}},
		{`{"kind":"read","rawInput":{"path":"/f"}}`, choice{"/f", ""}, nil, nil},
		{`{"kind":"other","rawInput":{"path":"/x/f"}}`, choice{"/x/f", ""}, nil, nil},
	} {
		c := call(t, test.call, dir)
		j := permission.Judge{Dir: dir}
		choices, why := j.Always(c)
		var got choice
		for _, ch := range choices {
			j.Remembered = []api.PermissionRule{ch.Rule}
			if v := j.Verdict(c); v.Decision != allow {
				t.Errorf("%s: the rule %+v does not allow it: %s", test.call, ch.Rule, v.Reason)
			}
			if ch.Rule.Kind != c.Kind || ch.Rule.Decision != allow || ch.Rule.Command != "" || !strings.Contains(ch.Text, c.Kind) {
				t.Errorf("%s: %+v", test.call, ch)
			}
			switch ch.Scope {
			case api.AlwaysExact:
				got.exact = ch.Rule.Path
			case api.AlwaysDirectory:
				got.directory = ch.Rule.Path
				if !strings.Contains(ch.Text, "this directory") {
					t.Errorf("%s: %s", test.call, ch.Text)
				}
			}
		}
		want := choice{strings.ReplaceAll(test.want.exact, "OUT", filepath.Dir(dir)), strings.ReplaceAll(test.want.directory, "OUT", filepath.Dir(dir))}
		if got != want {
			t.Errorf("%s: %+v, want %+v (%s)", test.call, got, want, why)
		}
		for i, paths := range [][]string{test.yes, test.no} {
			for _, p := range paths {
				again := acp.ToolCall{Kind: c.Kind, Locations: []acp.Location{{Path: strings.ReplaceAll(p, "OUT", filepath.Dir(dir))}}}
				if v := j.Verdict(again); v.Decision != []string{allow, ask}[i] {
					t.Errorf("%s after %s: %s: %s", p, test.call, v.Decision, v.Reason)
				}
			}
		}
	}
}

func TestAlwaysIsNotOffered(t *testing.T) {
	dir := t.TempDir()
	tree(t, dir, "hidden -> .git")
	line := func(s string) string {
		return `{"kind":"execute","rawInput":{"command":"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"}}`
	}
	for text, want := range map[string]string{
		line("ls $x"): "a rule decides", line("ls *"): "protected", line("echo $x"): "expands", line("ls x*"): "expands", line("ls $(pwd)"): "", line("ls > x"): "more than run", line("ls 2>&1"): "more than plain", line("ls < x"): "more than run", line("ls <<E\nE"): "more than plain",
		line("x=1 ls"): "assignment", line("$x"): "a rule decides", line("(ls)"): "more than plain", line("ls &"): "more than plain", line("if ls; then ls; fi"): "more than plain", line("eval ls"): "not understood",
		line("bash -c ls"): "code", line("env ls"): "one command by another", line("sudo make"): "one command by another", line("nohup x"): "one command by another", line("timeout 5"): "one command by another", line("bash -c"): "not understood", line("ls; bash x -c"): "code",
		line("python3 -c 'x'"): "code", line("python3.11 -c x"): "code", line("/usr/bin/python -c x"): "code", line("perl -e x"): "code", line("perl -ne x"): "code", line("node --eval x"): "code", line("node --eval=x"): "code", line("ruby -e x"): "code", line("php -r x"): "code",
		line("awk x f"): "code", line("gawk x"): "code", line("mawk x"): "code", line("nawk x"): "code", line("gsed x"): "code", line("jq x"): "code", line("jq"): "", line("sed x f"): "code", line("ssh host ls"): "code", line("find x -exec ls ';'"): "code", line("find x -ok ls"): "code", line("git -c a=b log"): "code", line("deno eval x"): "code", line("xargs ls"): "one command by another",
		line("vim .envrc"): "protected", line("cat .git/config"): "protected",
		`{"kind":"execute","rawInput":{"command":["bash","-c","ls"]}}`: "code",
		`{"kind":"execute","rawInput":{"command":"ls","cwd":"/"}}`:     "another directory",
		`{"kind":"execute","rawInput":{"commands":["ls","make"]}}`:     "more than one",
		`{"kind":"execute"}`:                                          "does not carry it",
		`{"kind":"edit","rawInput":{"command":"ls"}}`:                 "more than run",
		`{"kind":"edit","rawInput":{"path":".git/config"}}`:           "protected",
		`{"kind":"edit","rawInput":{"path":"sub/.GIT/hooks/x"}}`:      "protected",
		`{"kind":"edit","rawInput":{"path":"hidden/config"}}`:         "protected",
		`{"kind":"edit","rawInput":{"path":".bashrc"}}`:               "protected",
		`{"kind":"read","rawInput":{"path":".ssh/id_rsa"}}`:           "protected",
		`{"kind":"edit","rawInput":{"path":".claude/settings.json"}}`: "protected",
		`{"kind":"edit"}`: "a rule decides", // it may be asked
		`{"kind":"fetch","rawInput":{"url":"https://a/b"}}`:                                "names no file",
		`{"kind":"other","title":"Do something"}`:                                          "names no file",
		`{"kind":"edit","rawInput":{"path":"~nosuchuser/x"}}`:                              "not understood",
		`{"kind":"edit","rawInput":{"path":"a.txt"},"locations":[{"path":"asked/x"}]}`:     "a rule decides",
		`{"kind":"edit","rawInput":{"path":"rejected/x"}}`:                                 "a rule decides",
		`{"kind":"execute","rawInput":{"command":"deploy it"}}`:                            "a rule decides",
		`{"kind":"edit","rawInput":{"path":"a","b":"c/d"},"content":[{"type":"content"}]}`: "",
	} {
		j := permission.Judge{Dir: dir, Policy: policy(t, `{"rules":[{"path":"asked/**","decision":"ask"},{"path":"rejected/**","decision":"reject"},{"command":"deploy *","decision":"ask"}]}`)}
		choices, why := j.Always(call(t, text, dir))
		if want == "" {
			continue // whatever it is, TestAlways... holds it to what it says
		}
		if len(choices) > 0 || !strings.Contains(why, want) {
			t.Errorf("%s: %+v, %q, want %q", text, choices, why, want)
		}
	}
}

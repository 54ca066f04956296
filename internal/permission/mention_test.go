package permission_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// TestPathsInArguments judges lines by two policies: one that rejects what is done
// to secret, and one that allows ls below src. DIR is the working directory.
func TestPathsInArguments(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "work")
	t.Setenv("HOME", outer)
	tree(t, outer, "work/secret/key", "work/src/a.go", "work/src/b.go", "work/.hidden", "work/doc/", "work/f")
	guarded := policy(t, `{"default":"allow","rules":[{"path":"secret/**","decision":"reject"}]}`)
	below := policy(t, `{"default":"ask","rules":[{"command":"ls *","path":"src/**","decision":"allow"}]}`)
	for _, test := range []struct{ line, guarded, below string }{
		// What the shell expands is looked up.
		{"ls s*", reject, ask}, {"ls s*/k*", reject, ask}, {"ls [s]ecret/key", reject, ask}, {"ls sec?et/key", reject, ask}, {"ls */", reject, ask}, {"ls ./*", reject, ask}, {"ls src/../s*", reject, ask}, {"ls 'secret'/k*", reject, ask},
		{"ls src/*", allow, allow}, {"ls src/*.go", allow, allow}, {"ls src/nothing*", allow, allow}, {"ls f* src/a.go", allow, ask}, {"ls .h*", allow, ask}, {"ls d*", allow, ask}, {`ls src/"*"`, allow, allow},
		{"ls {doc,secret}/key", reject, ask}, {"ls {doc,se{x,cret}}/key", reject, ask}, {"ls src/{a,b}.go", allow, allow}, {"ls {src,doc}/a", allow, ask}, {"ls src/{1..3}", ask, ask}, {"ls src/" + strings.Repeat("{a,b}", 20), ask, ask},
		{"ls $PWD/secret/key", reject, ask}, {`ls "${PWD}"/secret`, reject, ask}, {`ls "$PWD"/src/a.go`, allow, allow}, {"ls $HOME/work/secret/key", reject, ask}, {"ls ~/work/secret", reject, ask}, {"ls ~/work/s*", reject, ask}, {"ls ~/work/src", allow, allow},
		{"ls $'secret/key'", reject, ask}, {`ls $"secret"/key`, reject, ask},
		{"cd src; ls ../s*", ask, ask}, {"cd src; ls $PWD/a", ask, ask},
		// What is not known may be anything.
		{"ls $x", ask, ask}, {`ls "$x"`, ask, ask}, {"ls src/$x", ask, ask}, {"ls ${x}/key", ask, ask}, {"ls ${HOME%x}", ask, ask}, {"ls ${#HOME}", ask, ask}, {"ls ${HOME:1:2}", ask, ask}, {"ls $(pwd)/key", ask, ask}, {"ls `pwd`", ask, ask}, {"ls <(:)", ask, ask}, {"ls $((1))", ask, ask},
		{"echo $x", allow, ask}, {"printf %s \"$x\"", allow, ask}, {": $x", allow, ask}, {"echo s*", reject, ask},
		// Where a path stands in an argument.
		{"dd of=secret/new", reject, ask}, {"ls --file=secret/new", reject, ask}, {"ls -fsecret/new", reject, ask}, {"ls -Csecret", reject, ask}, {"curl -d @secret/key u", reject, ask}, {"cp h:secret/key .", reject, ask}, {"docker run -v ./secret:/x y", reject, ask}, {"mount -o a,src=./secret/key", reject, ask},
		{"ls -f=secret", reject, ask}, {"ls src/a.go,src/b.go", allow, allow}, {"ls src/a.go -la", allow, allow}, {"ls user@host.org src/a.go", allow, ask}, {"ls https://host/secret/key", allow, ask}, {"ls https://host/secret/key src/a.go", allow, allow}, {"ls --color=auto src", allow, allow},
	} {
		for name, p := range map[string]struct {
			judge permission.Judge
			want  string
		}{
			"secret is rejected":   {permission.Judge{Policy: guarded, Dir: dir}, test.guarded},
			"ls below src allowed": {permission.Judge{Policy: below, Dir: dir}, test.below},
		} {
			if v := p.judge.Verdict(run(t, test.line)); v.Decision != p.want {
				t.Errorf("%s, where %s: %s, want %s: %s", test.line, name, v.Decision, p.want, v.Reason)
			}
		}
	}
}

// A pattern that would take long to look up is not understood.
func TestPatternOfTooManyFilesIsNotUnderstood(t *testing.T) {
	dir := t.TempDir()
	for i := range 150 {
		sub := filepath.Join(dir, "src", fmt.Sprint(i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range 2 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(k)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := policy(t, `{"default":"ask","rules":[{"command":"ls *","path":"src/**","decision":"allow"}]}`)
	for line, want := range map[string]string{"ls src/1/*": allow, "ls src/*": allow, "ls src/1*/*": allow, "ls src/*/*": ask} {
		if v := (permission.Judge{Policy: p, Dir: dir}).Verdict(run(t, line)); v.Decision != want {
			t.Errorf("%s: %s, want %s: %s", line, v.Decision, want, v.Reason)
		}
	}
}

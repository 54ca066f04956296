package permission_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// tree makes directories (names that end in a slash), files, and links (name to
// target).
func tree(t testing.TB, dir string, entries ...string) {
	t.Helper()
	for _, e := range entries {
		name, to, link := strings.Cut(e, " -> ")
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(strings.ReplaceAll(to, "DIR", dir), p)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// call reads a tool call as an agent sends it, with DIR for the working directory
// and OUT for the directory around it.
func call(t testing.TB, text, dir string) acp.ToolCall {
	t.Helper()
	var c acp.ToolCall
	text = strings.NewReplacer("DIR", dir, "OUT", filepath.Dir(dir)).Replace(text)
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

// TestPaths judges each call by two policies: one that allows edits below src and
// asks about the rest, and one that rejects what is done to secret and allows the
// rest.
func TestPaths(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "work")
	t.Setenv("HOME", filepath.Join(outer, "home"))
	tree(t, outer, "work/src/a.go", "work/src/sub/", "work/doc/", "work/secret/key", "home/", "outside/f", "real/src/",
		"work/src/link -> DIR/outside", "work/src/in -> sub", "work/src/up -> ..", "work/src/file -> ../secret/key", "work/src/dangling -> ../nowhere/x",
		"work/src/loop -> loop", "work/src/one -> two", "work/src/two -> one", "work/alias -> src", "work/hidden -> secret", "work/src/self -> /proc/self/cwd", "work/src/etc -> /etc",
		"home/l -> DIR/work/src", "symlinked -> work")
	if err := os.Link(filepath.Join(dir, "secret/key"), filepath.Join(dir, "secret/KEY")); err != nil {
		t.Fatal(err)
	}
	below := policy(t, `{"default":"ask","rules":[{"kind":"edit","path":"src/**","decision":"allow"}]}`)
	guarded := policy(t, `{"default":"allow","rules":[{"path":"secret/**","decision":"reject"}]}`)
	const edit = `{"kind":"edit","rawInput":`
	for _, test := range []struct {
		call           string
		below, guarded string
	}{
		// Where a path stands.
		{`{"kind":"edit","locations":[{"path":"src/a.go"}]}`, allow, allow},
		{`{"kind":"edit","locations":[{"path":"DIR/src/a.go"}]}`, allow, allow},
		{`{"kind":"edit","locations":[{"path":"src/a.go"},{"path":"secret/key"}]}`, ask, reject},
		{`{"kind":"edit","locations":[{"path":"src/a.go"}],"content":[{"type":"diff","path":"secret/key","newText":""}]}`, ask, reject},
		{`{"kind":"edit","locations":[{"path":"src/a.go"}],"content":[{"type":"diff","path":"/etc/passwd","newText":""}]}`, ask, allow},
		{`{"kind":"edit","content":[{"type":"diff","path":"src/new/b.go","newText":""}]}`, allow, allow},
		{`{"kind":"edit"}`, ask, ask},
		{edit + `{"path":"src/a.go"}}`, allow, allow},
		{edit + `{"file_path":"secret/key"}}`, ask, reject},
		{edit + `{"anything":"secret/key"}}`, ask, reject},
		{edit + `{"path":"src/a.go","x":"/etc/passwd"}}`, ask, allow},
		{edit + `{"path":"src/a.go","x":{"y":[{"z":"secret/key"}]}}}`, ask, reject},
		{edit + `{"path":"src/a.go","x":["secret/key"]}}`, ask, reject},
		{edit + `{"path":"src/a.go","changes":{"secret/key":{"add":""}}}}`, ask, reject},
		{edit + `{"path":"src/a.go","changes":{"DIR/src/b":{}}}}`, allow, allow},
		{edit + `{"path":"secret/key","path":"src/a.go"}}`, ask, reject},
		{edit + `{"path":"src/a.go","input":"{\"path\":\"secret/key\"}"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** Begin Patch\n*** Update File: secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** Begin Patch\n  *** Delete File: secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** Begin Patch\n***  Add File:secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** Update File: secret/key"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** Begin Patch\r\n*** Update File: src/a.go\r\n*** Move to: secret/key\r\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","input":"*** Begin Patch\n*** Update File: src/b.go\n@@\n*** End of File\n*** End Patch\n"}}`, allow, allow},
		{edit + `{"path":"src/a.go","diff":"diff --git a/secret/key b/secret/key\nold mode 100644\nnew mode 100755\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","diff":"diff --git a/src/a.go b/src/a.go\nold mode 100644\nnew mode 100755\n"}}`, allow, allow},
		{edit + `{"path":"src/a.go","diff":"diff --git a/src/a.go b/secret/key\nrename from src/a.go\nrename to secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","diff":"diff --git \"a/secret/k\\145y\" \"b/secret/k\\145y\"\nGIT binary patch\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","diff":"--- /dev/null\n+++ \"b/secret/k\\145y\"\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","diff":"--- /dev/null\n+++ \"b/secret\n"}}`, ask, ask},
		{edit + `{"path":"src/a.go","diff":"diff --git \"a/secret\n"}}`, ask, ask},
		{edit + `{"path":"src/a.go","patch":"*** secret/key\t2020\n--- src/a.go\n*** 1,2 ****\n--- 1,2 ----\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","patch":"*** src/a.go\t2020\n--- src/a.go\n*** 1,2 ****\n--- 1,2 ----\n"}}`, allow, allow},
		{edit + `{"path":"src/a.go","patch":"Index: secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","content":"*** secret/key\nIndex: secret/key\n"}}`, allow, allow},
		{edit + `{"path":" secret/key "}}`, ask, reject},
		{edit + `{"path":"\"secret/key\""}}`, ask, reject},
		{edit + `{"path":"@secret/key"}}`, ask, reject},
		{edit + `{"path":"@src/a.go"}}`, ask, allow},
		{edit + `{"path":"%73ecret/key"}}`, ask, reject},
		{edit + `{"path":"src%2F..%2Fsecret%2Fkey"}}`, ask, reject},
		{edit + `{"path":"src/100%"}}`, allow, allow},
		{edit + `{"path":"src\\..\\secret\\key"}}`, ask, reject},
		{edit + `{"path":"src/a\\b"}}`, allow, allow},
		{edit + `{"path":"src/a.go","diff":"--- a/src/a.go\n+++ b/secret/key\n"}}`, ask, reject},
		{edit + `{"path":"src/a.go","diff":"--- a/src/a.go\n+++ b/src/a.go\n"}}`, allow, allow},
		{edit + `{"path":"src/a.go","content":"/etc/passwd"}}`, allow, allow},
		{edit + `{"path":"src/a.go","old_string":"secret/key","new_string":"a/b"}}`, allow, allow},
		{edit + `{"path":"src/a.go","backup":"key.txt"}}`, ask, allow},
		{edit + `{"path":"src/a.go","data":["secret/key"]}}`, ask, reject},
		{`{"kind":"search","rawInput":{"pattern":"DIR/secret/*"}}`, ask, reject},
		{`{"kind":"search","rawInput":{"pattern":"../work/secret/key"}}`, ask, reject},
		{edit + `{"path":"src/a.go","mode":"fast","n":3,"b":true,"z":null}}`, allow, allow},
		{edit + `{"paths":["src/a.go","src/b.go"]}}`, allow, allow},
		{edit + `["src/a.go","secret/key"]}`, ask, reject},
		{edit + `"secret/key"}`, ask, reject},
		{`{"kind":"move","rawInput":{"from":"src/a.go","to":"secret/key"}}`, ask, reject},
		// How a path is written.
		{edit + `{"path":"./src/../src/a.go"}}`, allow, allow},
		{edit + `{"path":"src/../secret/key"}}`, ask, reject},
		{edit + `{"path":"src//sub///x"}}`, allow, allow},
		{edit + `{"path":"../work/secret/key"}}`, ask, reject},
		{edit + `{"path":"~/x"}}`, ask, allow},
		{edit + `{"path":"~/l/a.go"}}`, ask, allow},
		{edit + `{"path":"~nosuchuser/x"}}`, ask, ask},
		{edit + `{"path":"file://DIR/secret/key"}}`, ask, reject},
		{edit + `{"path":"file://localhost/DIR/secret/key"}}`, ask, reject},
		{edit + `{"path":"FILE://DIR/secr%65t/key"}}`, ask, reject},
		{edit + `{"uri":"file:DIR/secret/key"}}`, ask, reject},
		{edit + `{"path":"file://otherhost/x"}}`, ask, ask},
		{edit + `{"uri":"file:secret/key"}}`, ask, reject},
		{edit + `{"path":"~root/x"}}`, ask, allow},
		{edit + `{"path":"a.go","cwd":"src"}}`, ask, allow},
		{edit + `{"path":"key","cwd":"secret"}}`, ask, reject},
		{edit + `{"path":"file:///%zz"}}`, ask, ask},
		{edit + `{"path":"https://host/x"}}`, ask, ask},
		{edit + `{"path":"src/a.go","see":"https://host/x"}}`, allow, allow},
		{edit + `{"path":"$HOME/x"}}`, ask, ask},
		{edit + `{"path":"src/a\u0000"}}`, ask, ask},
		{edit + `{"path":"src/*/../../secret/key"}}`, ask, reject},
		{edit + `{"path":"src/*.go"}}`, allow, allow},
		{edit + `{"path":""}}`, ask, ask},
		// Where links lead.
		{edit + `{"path":"src/link/f"}}`, ask, allow},
		{edit + `{"path":"src/link"}}`, ask, allow},
		{edit + `{"path":"src/link/../work/secret/key"}}`, ask, reject},
		{edit + `{"path":"src/in/f"}}`, allow, allow},
		{edit + `{"path":"src/in/../a.go"}}`, allow, allow},
		{edit + `{"path":"src/up/secret/key"}}`, ask, reject},
		{edit + `{"path":"src/up/src/a.go"}}`, allow, allow},
		{edit + `{"path":"src/file"}}`, ask, reject},
		{edit + `{"path":"src/dangling"}}`, ask, allow},
		{edit + `{"path":"src/loop"}}`, ask, ask},
		{edit + `{"path":"src/one/x"}}`, ask, ask},
		{edit + `{"path":"src/etc/passwd"}}`, ask, allow},
		{edit + `{"path":"src/a.go/x"}}`, allow, allow},
		{edit + `{"path":"alias/a.go"}}`, allow, allow},
		{edit + `{"path":"hidden/key"}}`, ask, reject},
		{edit + `{"path":"src/self/f"}}`, ask, ask},
		{edit + `{"path":"/proc/self/cwd/secret/key"}}`, ask, ask},
		{edit + `{"path":"/proc/1/root/x"}}`, ask, ask},
		{edit + `{"path":"/proc/999999999/root/x"}}`, ask, ask},
		{edit + `{"path":"/dev/fd/3"}}`, ask, ask},
		{edit + `{"path":"SECRET/key"}}`, ask, allow},
		// What is done to it.
		{`{"kind":"read","rawInput":{"path":"src/a.go"}}`, ask, allow},
		{`{"kind":"read","rawInput":{"path":"src/a.go","content":"x"}}`, ask, allow},
		{`{"kind":"delete","rawInput":{"path":"secret"}}`, ask, reject},
		{`{"kind":"delete","rawInput":{"path":"DIR"}}`, ask, reject},
		{`{"kind":"move","rawInput":{"path":"OUT"}}`, ask, reject},
		{`{"kind":"read","rawInput":{"path":"DIR"}}`, ask, allow},
		{`{"kind":"fetch","rawInput":{"url":"file://DIR/secret/key"}}`, ask, reject},
		{`{"kind":"fetch","rawInput":{"url":"https://host/secret/key"}}`, ask, allow},
		{`{"kind":"think"}`, ask, allow},
		{`{"kind":"brew","rawInput":{"x":1}}`, ask, allow},
		{`{"rawInput":{"x":1}}`, ask, allow},
		// Commands and what stands next to them.
		{`{"kind":"execute","rawInput":{"command":"cat secret/key"}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cat","args":["secret/key"]}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":["cat","secret/key"]}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cat --file=secret/key"}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cat x > secret/key"}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cat < secret/key"}}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cd src && cat ../secret/key"}}`, ask, ask},
		{`{"kind":"execute","rawInput":{"command":"ls"},"locations":[{"path":"secret/key"}]}`, ask, reject},
		{`{"kind":"execute","rawInput":{"command":"cat key","cwd":"secret"}}`, ask, reject},
		{`{"kind":"execute"}`, ask, ask},
	} {
		for i, p := range []*api.PermissionPolicy{below, guarded} {
			want := []string{test.below, test.guarded}[i]
			for _, cwd := range []string{dir, filepath.Join(outer, "symlinked")} {
				v := permission.Judge{Policy: p, Dir: cwd}.Verdict(call(t, test.call, cwd))
				if v.Decision != want {
					t.Errorf("%s in %s: %s under policy %d, want %s: %s", test.call, filepath.Base(cwd), v.Decision, i, want, v.Reason)
				}
			}
		}
	}
}

// components are what paths and links are made of by the fuzzer.
var components = []string{"src", "a", "b", "c", "..", ".", "out", "src/a", "../..", "/", "a/../b", "", "src/..", "../out", "ABS/src", "ABS/out"}

func joined(data []byte, root string) string {
	var parts []string
	for _, c := range data {
		parts = append(parts, strings.ReplaceAll(components[int(c)%len(components)], "ABS", root))
	}
	return strings.Join(parts, "/")
}

// opened makes links in a new directory, and holds the judge to where the kernel
// opens what it allows below src. It returns how much that was.
func opened(t testing.TB, root string, links, named []byte) (allowed int) {
	base, err := os.MkdirTemp(root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := filepath.Join(base, "w", "dir")
	tree(t, dir, "src/a/", "src/f", "out/a/", "a/")
	for i, l := range bytes.SplitN(links, []byte{255}, 6) {
		if len(l) < 3 || len(l) > 12 {
			continue
		}
		at := filepath.Join(dir, []string{"src", "", "src/a", "out"}[int(l[0])%4], []string{"l" + strconv.Itoa(i), "b", "c"}[int(l[1])%3])
		if to := joined(l[2:], dir); to != "" {
			_ = os.Symlink(to, at) // one that cannot be made is not there
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "src", "*"))
	if err != nil {
		t.Fatal(err)
	}
	src, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	src = filepath.Join(src, "src")
	p := &api.PermissionPolicy{Rules: []api.PermissionRule{{Kind: acp.ToolEdit, Path: "src/**", Decision: allow}}}
	for _, first := range append(names, filepath.Join(dir, "src")) {
		name := first + "/" + joined(named, dir)
		v := permission.Judge{Policy: p, Dir: dir}.Verdict(acp.ToolCall{Kind: acp.ToolEdit, Locations: []acp.Location{{Path: name}}})
		if v.Decision != allow {
			continue
		}
		allowed++
		file, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			continue
		}
		real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(file.Fd())))
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if real != src && !strings.HasPrefix(real, src+"/") {
			t.Errorf("%s is allowed below src, and is %s", name, real)
		}
	}
	return allowed
}

func TestKernelOpensWhatIsAllowed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells where a descriptor is")
	}
	random := rand.New(rand.NewPCG(1, 1))
	some := func(most int) []byte {
		data := make([]byte, random.IntN(most))
		for i := range data {
			data[i] = byte(random.IntN(200))
		}
		return data
	}
	root, allowed := t.TempDir(), 0
	for range pathTrees {
		var links []byte
		for range 1 + random.IntN(5) {
			links = append(append(links, 0, byte(random.IntN(200))), append(some(5), 255)...)
		}
		allowed += opened(t, root, links, some(6))
	}
	if allowed < pathTrees/10 {
		t.Errorf("%d paths were allowed: too few to show anything", allowed)
	}
}

// pathTrees is how many directories the test makes.
const pathTrees = 100

// FuzzPaths makes links and a path.
func FuzzPaths(f *testing.F) {
	f.Add([]byte{0, 1, 3, 6, 255, 1, 2, 3}, []byte{0, 1, 2})
	f.Add([]byte{0, 1, 14, 255, 0, 2, 4, 4, 6}, []byte{0, 2, 4, 1})
	f.Add([]byte{0, 3, 13, 255}, []byte{0, 3, 1})
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, links, named []byte) {
		if runtime.GOOS == "linux" && len(named) <= 12 {
			opened(t, root, links, named)
		}
	})
}

// TestPathPatterns has patterns for the working directory by its full name, by a
// link to it, and through links.
func TestPathPatterns(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "work")
	tree(t, outer, "work/src/a", "work/lib -> src", "symlinked -> work", "work/loop -> loop", "gone -> gone")
	for _, test := range []struct{ decision, pattern, path, want string }{
		{allow, "DIR/src/**", "src/a", allow},
		{allow, "CWD/src/**", "src/a", allow},
		{allow, "./src/*", "src/a", allow},
		{allow, "lib/**", "lib/a", ask}, // it is src
		{allow, "src/**", "lib/a", allow},
		{allow, "OUT/other/**", "OUT/other/x", allow},
		{allow, "../other/**", "OUT/other/x", allow},
		{allow, "loop/**", "loop/a", ask},
		{reject, "lib/**", "src/a", reject},
		{reject, "lib/**", "lib/a", reject},
		{reject, "lib/a", "src/a", reject},
		{reject, "src/a", "lib/a", reject},
		{reject, "OUT/symlinked/src/**", "src/a", reject},
		{reject, "loop/**", "src/a", ask},
		{reject, "loop/**", "loop/a", reject},
	} {
		for _, cwd := range []string{dir, filepath.Join(outer, "symlinked")} {
			in := strings.NewReplacer("DIR", dir, "OUT", outer, "CWD", cwd)
			p := &api.PermissionPolicy{Rules: []api.PermissionRule{{Path: in.Replace(test.pattern), Decision: test.decision}}}
			v := permission.Judge{Policy: p, Dir: cwd}.Verdict(acp.ToolCall{Kind: acp.ToolEdit, Locations: []acp.Location{{Path: in.Replace(test.path)}}})
			if v.Decision != test.want {
				t.Errorf("%s %s and %s in %s: %s, want %s: %s", test.decision, test.pattern, test.path, filepath.Base(cwd), v.Decision, test.want, v.Reason)
			}
		}
	}
	v := permission.Judge{Policy: &api.PermissionPolicy{Rules: []api.PermissionRule{{Path: "**", Decision: allow}}}, Dir: filepath.Join(outer, "gone")}.Verdict(acp.ToolCall{Kind: acp.ToolEdit, Locations: []acp.Location{{Path: "a"}}})
	if v.Decision != ask {
		t.Errorf("a working directory that leads nowhere: %+v", v)
	}
}

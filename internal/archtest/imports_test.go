package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A rule is all that one package may import besides the standard library. A name
// without a dot in its first element is a package of this module, "sdk" is its
// root; another name is a package of another module and everything below it.
type rule struct {
	pkg    string // with "/..." it holds for what is below as well, but for packages with a rule of their own
	allow  string // separated by white space
	reason string
}

var rules = []rule{
	// What the SDK consists of: who imports it links no server, database, or page.
	{"api", "acp", "wire types need nothing but the standard library"},
	{"acp", "", "the protocol needs nothing but the standard library"},
	{"acp/schema", "acp github.com/google/jsonschema-go/jsonschema", "tests alone check frames against the schema"},
	{"sdk", "api acp provider provider/local github.com/coder/websocket", "who imports the SDK must not link a server"},

	// The floor: what everything stands on stands on nothing.
	{"internal/atomicfile", "", "one atomic write"},
	{"internal/filelock", "golang.org/x/sys", "one file lock"},
	{"internal/lazyregexp", "", "regular expressions that cost nothing at the start"},
	{"internal/shellwords", "mvdan.cc/sh/v3/syntax", "words for a shell"},
	{"internal/memory", "", "the parent of a server is made of it, and has to be small"},
	{"internal/child/tree", "", "the parent of a server is made of it, and has to be small"},
	{"internal/child/cgroup", "", "the parent of a server is made of it, and has to be small"},
	{"internal/child/conceal", "", "the parent of a server is made of it, and has to be small"},
	{"internal/child/reaper", "internal/child/cgroup internal/child/conceal internal/child/tree internal/memory", "the parent of a server has to be small"},
	{"internal/child/reaper/early", "internal/child/reaper", "the parent of a server is made before anything else"},
	{"internal/child/user", "golang.org/x/sys", "who children run as, and with whose rights files are touched"},
	{"internal/child", "internal/child/cgroup internal/child/tree internal/child/user golang.org/x/sys github.com/creack/pty", "the only package that starts children of the server"},
	{"internal/ui", "", "the page is data"},

	// The nouns do the work. They know neither HTTP handlers, nor the SDK, nor
	// the command line.
	{"internal/credentials", "internal/lazyregexp internal/shellwords", "credentials are looked for, not used"},
	{"internal/agents", `
		acp
		api
		internal/atomicfile
		internal/child
		internal/child/user
		internal/credentials
		internal/filelock
		internal/lazyregexp
		internal/shellwords`, "the catalogue knows what agents say, and starts no session"},
	{"internal/ignore", "github.com/bmatcuk/doublestar/v4", "one reader of ignore files"},
	{"internal/files", "api internal/filelock internal/ignore github.com/bmatcuk/doublestar/v4 github.com/fsnotify/fsnotify github.com/klauspost/compress golang.org/x/sys", "the file system of the user"},
	{"internal/git", "api internal/child internal/child/user", "git runs as a child like others"},
	{"internal/changes", "api internal/filelock internal/git internal/ignore internal/atomicfile internal/protected golang.org/x/sys", "a tree that others write is read in one place"},
	{"internal/settings", "api internal/atomicfile internal/child/user internal/filelock internal/git", "settings start no MCP server"},
	{"internal/process", "api internal/child internal/child/user golang.org/x/sys", "the processes of the user"},
	{"internal/journal", "api github.com/cenkalti/backoff/v5", "the journal knows streams, not what is in them"},
	{"internal/journal/journaltest", "api internal/journal", "the suite of all stores"},
	{"internal/journal/sqlite", "api internal/atomicfile internal/filelock internal/journal internal/journal/sqlite/tail github.com/cenkalti/backoff/v5 github.com/pressly/goose/v3 modernc.org/sqlite", "one store, one library"},
	{"internal/journal/sqlite/tail", "internal/journal", "the files of the tail hold blocks, and know no SQLite"},
	{"internal/journal/postgres", "api internal/journal github.com/jackc/pgx/v5 github.com/pressly/goose/v3", "one store, one library"},
	{"internal/protected", "github.com/bmatcuk/doublestar/v4", "one list of protected paths"},
	{"internal/permission", "acp api internal/protected github.com/bmatcuk/doublestar/v4 golang.org/x/sys mvdan.cc/sh/v3/expand mvdan.cc/sh/v3/syntax", "the judge looks at calls, rules, and links, and at nothing else"},
	{"internal/bridge", "acp api internal/child internal/journal internal/lazyregexp golang.org/x/sync", "the bridge moves frames between agents and the journal"},
	{"internal/secrets", "internal/atomicfile", "what is secret in a frame, and where it is kept"},
	{"internal/session", "acp api internal/bridge internal/journal internal/permission internal/secrets", "a session is on top of the bridge"},

	{"internal/compat", "acp api internal/bridge internal/journal internal/session", "what only clients of the earlier SDKs need, on top of sessions"},

	// Sandboxes: what makes them, and the process that owns each.
	{"provider", "api", "the SDK and every provider stand on it"},
	{"provider/local", "internal/shim internal/shim/workspace", "a provider is its directory"},
	{"provider/bubblewrap", "internal/shim internal/shim/workspace", "a provider is its directory"},
	{"provider/all", "provider provider/bubblewrap provider/local", "the readable list"},
	{"provider/providertest", "api provider", "the suite of all providers"},
	{"internal/shim", "api internal/atomicfile internal/child internal/filelock provider golang.org/x/sys", "a client of shims is light: the SDK has it"},
	{"internal/shim/workspace", "api internal/changes internal/filelock internal/git internal/shim provider", "what the workspaces of sandboxes have in common"},
	{"internal/shim/run", "api internal/child internal/shim internal/shim/capture internal/shim/model provider github.com/google/nftables github.com/vishvananda/netlink golang.org/x/net golang.org/x/sys", "the shim itself, which the command line alone links"},
	{"internal/shim/capture", "github.com/vishvananda/netlink golang.org/x/net golang.org/x/sys", "the capture knows addresses and names, and no sandbox"},
	{"internal/shim/model", "internal/credentials golang.org/x/net", "the forwarder knows models and keys, and no sandbox"},

	// Scripted counterparts, without which nothing could be tried offline.
	{"internal/fakeagent", "acp internal/atomicfile internal/child internal/lazyregexp", "the mock is an agent like others: a program that speaks ACP"},
	{"internal/fakemodel", "internal/lazyregexp internal/shellwords", "the scripted model is a server like others"},

	// What is put together from all that.
	{"internal/httpkit", "api github.com/danielgtaylor/huma/v2 github.com/prometheus/client_golang golang.org/x/sys", "what servers have in common knows no noun"},
	{"internal/server", `
		acp
		api
		internal/agents
		internal/bridge
		internal/compat
		internal/files
		internal/httpkit
		internal/journal
		internal/memory
		internal/process
		internal/session
		internal/settings
		internal/ui
		github.com/coder/websocket
		github.com/danielgtaylor/huma/v2
		github.com/prometheus/client_golang`, "handlers decode, call, encode"},
	{"internal/app", `
		acp
		api
		internal/agents
		internal/bridge
		internal/child/user
		internal/compat
		internal/files
		internal/httpkit
		internal/journal
		internal/journal/sqlite
		internal/process
		internal/secrets
		internal/server
		internal/session
		internal/settings`, "what puts a server together knows all nouns, and neither flags nor the environment"},
	{"embedded", "sdk api internal/app internal/cli", "the server and the SDK together"},
	{"internal/cli", `
		sdk
		acp
		api
		internal/agents
		internal/app
		internal/atomicfile
		internal/child
		internal/child/conceal
		internal/child/reaper
		internal/child/tree
		internal/child/user
		internal/credentials
		internal/fakeagent
		internal/fakemodel
		internal/filelock
		internal/httpkit
		internal/journal
		internal/journal/sqlite
		internal/permission
		internal/secrets
		internal/session
		internal/shellwords
		internal/shim
		internal/shim/run
		provider
		provider/all
		github.com/rogpeppe/go-internal/diff
		github.com/spf13/cobra
		github.com/spf13/pflag
		golang.org/x/sys
		golang.org/x/term
		golang.org/x/text`, "the command line is on top of the SDK; it starts servers, and works on their files while none runs"},
	{"cmd/sandbox-agent", "internal/child/reaper/early internal/cli", "a program is the command line"},
	{"examples/tour", "sdk acp api", "an example imports what its readers can"},

	// What we do not ship.
	{"internal/archtest", "internal/agents", "the rules are data"},
	{"internal/gen", "internal/agents internal/app internal/cli", "what is generated from code"},
	{"internal/testkit", "", "help for the tests of every package"},
	{"internal/testkit/serve", "internal/app internal/fakeagent internal/server internal/testkit", "a whole server for tests"},
	{"internal/testkit/postgres", "github.com/jackc/pgx/v5", "a database for tests"},
	{"bench", "api provider provider/bubblewrap github.com/creack/pty golang.org/x/sync golang.org/x/term", "the benchmark talks to servers as a stranger does, and makes sandboxes as any program"},
	{"conformance/...", "github.com/modelcontextprotocol/go-sdk", "the suites talk to servers as strangers do"},
}

// ruleOf returns the rule of a package as sources name it.
func ruleOf(pkg string) (found rule, ok bool) {
	pkg = named(pkg)
	for _, r := range rules {
		family, isFamily := strings.CutSuffix(r.pkg, "/...")
		switch {
		case r.pkg == pkg:
			return r, true
		case isFamily && below(pkg, family) && len(r.pkg) > len(found.pkg):
			found, ok = r, true
		}
	}
	return found, ok
}

func named(pkg string) string {
	if pkg == "" {
		return "sdk"
	}
	return pkg
}

func below(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// allows reports whether a package may import another, given by its import path.
func (r rule) allows(name string) bool {
	own, inside := strings.CutPrefix(name, module)
	if !inside {
		first, _, _ := strings.Cut(name, "/")
		return !strings.Contains(first, ".") || // the standard library
			slices.ContainsFunc(strings.Fields(r.allow), func(a string) bool { return isModule(a) && below(name, a) })
	}
	own = named(strings.TrimPrefix(own, "/"))
	return slices.Contains(strings.Fields(r.allow), own)
}

func isModule(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return strings.Contains(first, ".")
}

// checkImports returns what breaks the rules.
func checkImports(all []source) (broken []string) {
	for _, s := range all {
		r, ok := ruleOf(s.pkg)
		if !ok {
			broken = append(broken, fmt.Sprintf("%s: package %s has no rule of imports; give it one in internal/archtest", s.path, named(s.pkg)))
			continue
		}
		for _, name := range s.imports {
			if !r.allows(name) {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s", s.path, name, r.reason))
			}
		}
	}
	return broken
}

func TestImports(t *testing.T) {
	for _, b := range checkImports(sources(t)) {
		t.Error(b)
	}
}

// Each rule is about packages that exist, and allows only what they use, so that
// the table says how things are.
func TestRulesAreExact(t *testing.T) {
	all := sources(t)
	for i, r := range rules {
		var imports []string
		exists := false
		for _, s := range all {
			if of, _ := ruleOf(s.pkg); of == r {
				exists = true
				imports = append(imports, s.imports...)
			}
		}
		if !exists {
			t.Errorf("rule %d: there is no package %s", i, r.pkg)
		}
		for _, a := range strings.Fields(r.allow) {
			one := rule{allow: a}
			used := slices.ContainsFunc(imports, func(name string) bool {
				first, _, _ := strings.Cut(name, "/")
				return strings.Contains(first, ".") && one.allows(name)
			})
			if !used && !strings.HasPrefix(r.pkg, "internal/archtest") {
				t.Errorf("%s may import %s, and does not", r.pkg, a)
			}
		}
	}
}

// TestForbiddenImportsAreFound plants into each package of a copy each import that
// the package may not have.
func TestForbiddenImportsAreFound(t *testing.T) {
	all := sources(t)
	copied := t.TempDir()
	packages := map[string]string{} // name in the package clause by path
	for _, s := range all {
		packages[s.pkg] = s.tree.Name.Name
		text, err := os.ReadFile(filepath.Join("..", "..", s.path))
		if err != nil {
			t.Fatal(err)
		}
		plant(t, filepath.Join(copied, s.path), string(text))
	}
	if broken := checkImports(sourcesIn(t, copied)); len(broken) > 0 {
		t.Fatalf("the copy breaks rules before anything is planted: %v", broken)
	}
	var want []string
	for pkg, clause := range packages {
		r, _ := ruleOf(pkg)
		text := "// Package " + clause + " has a planted file.\npackage " + clause + "\n\n"
		path := filepath.ToSlash(filepath.Join(pkg, "planted.go"))
		forbid := func(name string) {
			text += fmt.Sprintf("import _ %q\n", name)
			want = append(want, fmt.Sprintf("%s imports %s: %s", path, name, r.reason))
		}
		forbid("github.com/planted/module")
		for other := range packages {
			if name := strings.TrimSuffix(module+"/"+other, "/"); other != pkg && !slices.Contains(strings.Fields(r.allow), named(other)) {
				forbid(name)
			}
		}
		plant(t, filepath.Join(copied, path), text)
	}
	plant(t, filepath.Join(copied, "internal", "planted", "planted.go"), "// Package planted has no rule.\npackage planted\n")
	want = append(want, "internal/planted/planted.go: package internal/planted has no rule of imports; give it one in internal/archtest")

	got := checkImports(sourcesIn(t, copied))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("not found: %s", w)
			}
		}
		for _, g := range got {
			if !slices.Contains(want, g) {
				t.Errorf("found, but not planted: %s", g)
			}
		}
	}
	if len(want) < 10*len(packages) {
		t.Errorf("only %d forbidden imports for %d packages", len(want), len(packages))
	}
}

func plant(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

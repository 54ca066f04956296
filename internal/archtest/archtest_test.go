package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sandboxagent/sandboxagent"

// source is one hand-written file that is not a test.
type source struct {
	path    string // from the module root
	pkg     string // import path below the module; "" is the root
	imports []string
	tree    *ast.File
	text    string // without comments
}

func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "node_modules", "testdata", "bin", "dist", ".venv":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, group := range tree.Comments {
			for i := files.Position(group.Pos()).Offset; i < files.Position(group.End()).Offset; i++ {
				text[i] = ' '
			}
		}
		s := source{path: filepath.ToSlash(rel), tree: tree, text: string(text)}
		if s.pkg = filepath.ToSlash(filepath.Dir(rel)); s.pkg == "." {
			s.pkg = ""
		}
		for _, spec := range tree.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d files; the walk is broken", len(all))
	}
	return all
}

// rules say what packages may import of this module and of others. The first
// rule whose packages match holds.
var rules = []struct {
	packages string // pattern of the package, below the module
	allow    string // pattern of imports that are allowed
	why      string
}{
	{`^(api|acp|workspace|provider)$`, `^[^.]*$|^` + module + `/(api|acp)$`,
		"wire types and builders need nothing but the standard library"},
	{`^$`, `^[^.]*$|^` + module + `/(api|acp|provider|workspace)(/local)?$|^github\.com/coder/websocket$`,
		"whoever imports the SDK must not link servers, databases or UI"},
	{`^embedded$`, `^[^.]*$|^` + module + `(/api|/internal/server|/internal/cli)?$`,
		"embedded is the server and the SDK together"},
	{`^internal/(filelock|atomicfile|shellwords)$`, `^[^.]*$|^golang\.org/x/sys/`, "what everything stands on stands on nothing"},
	{`^internal/child$`, `^[^.]*$|^golang\.org/x/sys/|^github\.com/creack/pty$`,
		"what starts children stands alone, so that everything can stand on it"},
	{`^internal/permission$`, `^[^.]*$|^` + module + `/(api|acp)$|^golang\.org/x/sys/|^github\.com/bmatcuk/doublestar/|^mvdan\.cc/sh/v3/syntax$`,
		"the judge of tool calls looks at calls, rules and links, and at nothing else"},
	{`^internal/(journal|process|files|settings|agents|credentials|bridge|session|fakeagent|fakemodel|git)(/|$)`,
		`^[^.]*$|^` + module + `/(api|acp|internal/(journal|child|bridge|agents|session|permission|credentials|shellwords|lazyregexp|filelock|atomicfile))(/|$)|^(golang\.org|modernc\.org|go\.uber\.org|google\.golang\.org)/|^github\.com/(?:fsnotify|bmatcuk|klauspost|pressly|cenkalti|google|jackc|modelcontextprotocol|sahilm)/`,
		"the nouns do the work; they know neither HTTP handlers, nor the SDK, nor the command line"},
	{`^internal/server$`, `^[^.]*$|^` + module + `/(api|acp|internal/[a-z/]+)$|^github\.com/(danielgtaylor/huma|coder/websocket|prometheus/client_golang)`,
		"handlers decode, call, encode"},
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, rule := range rules {
			if !regexp.MustCompile(rule.packages).MatchString(s.pkg) {
				continue
			}
			allow := regexp.MustCompile(rule.allow)
			for _, name := range s.imports {
				if !allow.MatchString(name) {
					t.Errorf("%s imports %s: %s", s.path, name, rule.why)
				}
				if s.pkg == "internal/server" && strings.HasPrefix(name, module+"/internal/cli") {
					t.Errorf("%s imports the command line", s.path)
				}
			}
			break
		}
	}
}

// confined names what only some packages may do.
var confined = []struct {
	what    string
	pattern *regexp.Regexp
	where   *regexp.Regexp // files that may
	why     string
}{
	{"start processes", regexp.MustCompile(`\bexec\.(Command|CommandContext|Cmd\b)|os\.StartProcess|syscall\.ForkExec`),
		regexp.MustCompile(`^internal/child/|^start\w*\.go$|^provider/local/|^bench/|^internal/testkit/|^conformance/`),
		"internal/child starts the children of the server, so that none is left behind"},
	{"lock files", regexp.MustCompile(`\b(Flock|FcntlFlock|F_(OFD_)?SETLKW?)\b`), regexp.MustCompile(`^internal/filelock/`),
		"there is one file lock"},
	{"read the environment", regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ)\b`),
		regexp.MustCompile(`^internal/cli/|^options\.go$|^start\w*\.go$|^bench/|^conformance/|^internal/child/child\.go$|^internal/testkit/`),
		"configuration is read in one place and handed on as values"},
	{"call out", regexp.MustCompile(`\bhttp\.(Get|Post|Head|Client\{|DefaultClient|NewRequest)|\bnet\.(Dial|Dialer)`),
		regexp.MustCompile(`^[a-z_]+\.go$|^internal/agents/|^internal/cli/|^internal/testkit/|^store/|^bench/|^conformance/`),
		"there is no telemetry: a server calls out for what a client asks it to install, and for nothing else"},
	{"use global loggers", regexp.MustCompile(`\bslog\.(Default|Info|Warn|Error|Debug)\(|\blog\.(Print|Fatal)`),
		regexp.MustCompile(`^bench/|^internal/gen/|^conformance/`),
		"loggers are passed in"},
}

func TestConfined(t *testing.T) {
	for _, s := range sources(t) {
		for _, c := range confined {
			if m := c.pattern.FindString(s.text); m != "" && !c.where.MatchString(s.path) {
				t.Errorf("%s may not %s (%s): %s", s.path, c.what, m, c.why)
			}
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.tree.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: constructors are called by whoever needs them", s.path)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	commented := map[string]bool{}
	for _, s := range sources(t) {
		commented[s.pkg] = commented[s.pkg] || s.tree.Doc != nil
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("package %q has no comment", pkg)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, s := range sources(t) {
		switch filepath.Base(s.pkg) {
		case "util", "utils", "common", "helper", "helpers", "manager", "types", "models":
			t.Errorf("%s: a package is named by a noun of the field", s.path)
		}
	}
}

// agentIDs are named only where an agent is described.
var agentIDs = regexp.MustCompile(`case "(claude|codex|opencode|amp|pi|cursor|gemini|qwen|copilot|mock)"`)

func TestAgentIDs(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.pkg, "internal/agents") || strings.HasPrefix(s.pkg, "internal/fakemodel") || strings.HasPrefix(s.pkg, "conformance") {
			continue
		}
		if m := agentIDs.FindString(s.text); m != "" {
			t.Errorf("%s has a %s: what is special about an agent stands in its file", s.path, m)
		}
	}
}

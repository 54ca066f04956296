package archtest

import (
	"go/ast"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/agents"
)

// confined names what only some packages may do.
var confined = []struct {
	what    string
	pattern *regexp.Regexp
	where   *regexp.Regexp // files that may
	why     string
}{
	{"start processes", regexp.MustCompile(`\bexec\.(Command|CommandContext|Cmd\b)|os\.StartProcess|syscall\.ForkExec`),
		regexp.MustCompile(`^internal/child/|^provider/providertest/|^bench/|^internal/testkit/|^conformance/`),
		"internal/child starts the children of the server, so that none is left behind"},
	{"lock files", regexp.MustCompile(`\b(Flock|FcntlFlock|F_(OFD_)?SETLKW?)\b`), regexp.MustCompile(`^internal/filelock/`),
		"there is one file lock"},
	{"read the environment", regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ)\b`),
		regexp.MustCompile(`^internal/cli/|^options\.go$|^start\w*\.go$|^bench/|^conformance/|^internal/child/child\.go$|^internal/child/(conceal|reaper)/|^internal/shim/start\.go$|^internal/testkit/|^provider/providertest/`),
		"configuration is read in one place and handed on as values"},
	{"call out", regexp.MustCompile(`\bhttp\.(Get|Post|Head|Client\{|DefaultClient|NewRequest)|\bnet\.(Dial|Dialer)`),
		regexp.MustCompile(`^[a-z_]+\.go$|^internal/agents/|^internal/cli/|^internal/shim/|^internal/testkit/|^provider/providertest/|^bench/|^conformance/`),
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

// aClient names a client whose particular needs are known.
var aClient = regexp.MustCompile(`(?i)\bnpm client|python|user-?agent|sandbox-?agent-(sdk|python)`)

func TestServerKnowsNoParticularClient(t *testing.T) {
	within := regexp.MustCompile(`^internal/(server|session|bridge|httpkit|app)/`)
	for _, s := range sources(t) {
		if m := aClient.FindString(s.text); m != "" && within.MatchString(s.path) {
			t.Errorf("%s names %q: what only some clients need is in internal/compat", s.path, m)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.tree.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && s.pkg != "internal/child/reaper/early" {
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

// mayNameAgents are packages and files that say something of an agent by its id:
// those that describe agents, those that speak as one, and the mock, which is ours.
var mayNameAgents = regexp.MustCompile(`^internal/(agents|fakeagent|fakemodel|credentials|cli/mock\.go|testkit/serve)|^conformance/|^bench/|^store/storetest/`)

// TestAgentIDs looks for a string that is the id of an agent of the catalogue where
// something is decided by it: compared, a case, or a key of a map. What is special
// about an agent stands in its file.
func TestAgentIDs(t *testing.T) {
	ids := map[string]bool{}
	for _, a := range agents.All() {
		ids[strconv.Quote(a.ID)] = true
	}
	if len(ids) < 10 {
		t.Fatalf("the catalogue has %d agents", len(ids))
	}
	for _, s := range sources(t) {
		if mayNameAgents.MatchString(s.path) {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			var deciding []ast.Expr
			switch n := n.(type) {
			case *ast.CaseClause:
				deciding = n.List
			case *ast.KeyValueExpr:
				deciding = []ast.Expr{n.Key}
			case *ast.BinaryExpr:
				deciding = []ast.Expr{n.X, n.Y}
			}
			for _, e := range deciding {
				if lit, ok := e.(*ast.BasicLit); ok && ids[lit.Value] {
					t.Errorf("%s decides by %s: what is special about an agent stands in its file", s.path, lit.Value)
				}
			}
			return true
		})
	}
}

package archtest

import (
	"go/ast"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
		regexp.MustCompile(`^internal/cli/|^options\.go$|^start\w*\.go$|^bench/|^conformance/|^internal/child/child\.go$|^internal/child/reaper/|^internal/testkit/|^provider/providertest/`),
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

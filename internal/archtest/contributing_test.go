package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// graph has the packages of this module that each package imports, directly or
// through others.
type graph map[string]map[string]bool

func graphOf(all []source) graph {
	g := graph{}
	for _, s := range all {
		if g[named(s.pkg)] == nil {
			g[named(s.pkg)] = map[string]bool{}
		}
		for _, name := range s.imports {
			if own, inside := strings.CutPrefix(name, module); inside {
				g[named(s.pkg)][named(strings.TrimPrefix(own, "/"))] = true
			}
		}
	}
	return g
}

// reaches reports whether one package imports another through any chain.
func (g graph) reaches(from, to string) bool {
	seen := map[string]bool{}
	var walk func(pkg string) bool
	walk = func(pkg string) bool {
		for next := range g[pkg] {
			if next == to {
				return true
			}
			if !seen[next] {
				seen[next] = true
				if walk(next) {
					return true
				}
			}
		}
		return false
	}
	return walk(from)
}

func contributing(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The sentence on imports in CONTRIBUTING.md says how things are: each arrow is an
// import, and none leads back.
func TestContributingOnImports(t *testing.T) {
	_, rest, ok := strings.Cut(contributing(t), "Imports point inward: ")
	if !ok {
		t.Fatal("CONTRIBUTING.md has no sentence on imports")
	}
	sentence, _, _ := strings.Cut(rest, "\n\n")
	sentence = strings.Join(strings.Fields(sentence), " ")
	g := graphOf(sources(t))
	arrows := 0
	for _, chain := range regexp.MustCompile("`[^`]*->[^`]*`").FindAllString(sentence, -1) {
		names := strings.Fields(strings.NewReplacer("`", "", "->", " ").Replace(chain))
		for i := 1; i < len(names); i++ {
			from, to := names[i-1], names[i]
			arrows++
			if !g[from][to] {
				t.Errorf("CONTRIBUTING.md says %s -> %s, and %s does not import %s", from, to, from, to)
			}
			if g.reaches(to, from) {
				t.Errorf("%s imports %s, directly or through others", to, from)
			}
		}
	}
	if arrows < 5 {
		t.Errorf("%d arrows in %q", arrows, sentence)
	}
	if !strings.Contains(sentence, "The SDK reaches nothing under `internal/` but the client of shims and what that stands on") {
		t.Error("the sentence does not say what the SDK imports")
	}
	for pkg := range g {
		if strings.HasPrefix(pkg, "internal/") && pkg != "internal/shim" && g.reaches("sdk", pkg) && !g.reaches("internal/shim", pkg) {
			t.Errorf("the SDK imports %s", pkg)
		}
	}
	for _, heavy := range []string{"internal/shim/run", "internal/server", "internal/journal"} {
		if g.reaches("sdk", heavy) {
			t.Errorf("the SDK imports %s", heavy)
		}
	}
}

// The table of CONTRIBUTING.md names every package below internal.
func TestContributingNamesPackages(t *testing.T) {
	_, table, _ := strings.Cut(contributing(t), "## Where things are")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile("`[^`]+`").FindAllString(table, -1)
	for pkg := range graphOf(sources(t)) {
		parts := strings.Split(pkg, "/")
		if parts[0] == "internal" && !slices.Contains(rows, "`internal/"+parts[1]+"`") {
			t.Errorf("the table of CONTRIBUTING.md does not name internal/%s", parts[1])
		}
	}
}

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

// architecture returns what the table of docs/architecture.md says each package
// imports, in the names of the rules, sorted.
func architecture(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(string(text), -1) {
		for _, pkg := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			if _, twice := rows[pkg[1]]; twice {
				t.Errorf("docs/architecture.md has two rows for %s", pkg[1])
			}
			rows[pkg[1]] = shortened(row[2])
		}
	}
	return rows
}

// shortened returns the packages of this module in a list of a rule, as the table
// writes them, sorted.
func shortened(list string) []string {
	short := []string{}
	for _, name := range strings.Fields(list) {
		if !isModule(name) {
			short = append(short, strings.TrimPrefix(name, "internal/"))
		}
	}
	slices.Sort(short)
	return short
}

// The table of docs/architecture.md has a row for every rule and repeats it.
func TestArchitectureRepeatsTheRules(t *testing.T) {
	rows := architecture(t)
	for _, r := range rules {
		got, ok := rows[r.pkg]
		if !ok {
			t.Errorf("docs/architecture.md has no row for %s", r.pkg)
			continue
		}
		delete(rows, r.pkg)
		if want := shortened(r.allow); !slices.Equal(got, want) {
			t.Errorf("docs/architecture.md says that %s may import\n%s\nand the rule says\n%s", r.pkg, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	for pkg := range rows {
		t.Errorf("docs/architecture.md has a row for %s, which has no rule", pkg)
	}
}

// The SDK reaches nothing below internal but the client of shims, the workspaces of
// sandboxes, and what these stand on, as docs/architecture.md says.
func TestSDKImportsNoServer(t *testing.T) {
	const workspaces = "internal/shim/workspace"
	g := graphOf(sources(t))
	for pkg := range g {
		if strings.HasPrefix(pkg, "internal/") && pkg != workspaces && g.reaches("sdk", pkg) && !g.reaches(workspaces, pkg) {
			t.Errorf("the SDK imports %s", pkg)
		}
	}
	for _, heavy := range []string{"internal/shim/run", "internal/server", "internal/journal"} {
		if g.reaches("sdk", heavy) {
			t.Errorf("the SDK imports %s", heavy)
		}
	}
}

package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
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

// sources reads the tree of this module.
func sources(t *testing.T) []source {
	t.Helper()
	all := sourcesIn(t, filepath.Join("..", ".."))
	if len(all) < 20 {
		t.Fatalf("found %d files; the walk is broken", len(all))
	}
	return all
}

func sourcesIn(t *testing.T, root string) []source {
	t.Helper()
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
	return all
}

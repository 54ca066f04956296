package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// entry is a file of the changelog: its kind, a headline without a full stop, and the
// change.
var entry = regexp.MustCompile(`^Kind: (Enhancement|Bugfix|Change)\n\n[A-Z].{0,70}[^.\n]\n\n[^\n](.|\n)*[^\n]\n$`)

func TestChangelog(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "changelog", "unreleased", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !entry.Match(text) {
			t.Errorf("%s does not have the form of changelog/TEMPLATE.md", filepath.Base(file))
		}
	}
}

package protected

import (
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

func TestWhy(t *testing.T) {
	for path, want := range map[string]bool{
		".envrc": true, "sub/.ENVRC": true, "/home/me/.bashrc": true, ".git/hooks/pre-commit": true, "a/.Git/config": true,
		".vscode/tasks.json": true, ".claude/settings.json": true, "CLAUDE.md": false, "src/main.go": false, "envrc": false,
		".gitignore": false, "git/hooks/x": false,
	} {
		if got := Why(path) != ""; got != want {
			t.Errorf("%s is protected: %v", path, got)
		}
	}
}

func TestGlobsAreValid(t *testing.T) {
	for _, glob := range Globs() {
		if !doublestar.ValidatePattern(glob) {
			t.Errorf("%s is not a pattern", glob)
		}
	}
}

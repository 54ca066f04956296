package fakemodel

import (
	"os"
	"path/filepath"
	"testing"
)

// Agents say in different words where they are, and names of directories hold
// what separates words.
func TestWorkingDirectoryIsTakenWhole(t *testing.T) {
	base := t.TempDir()
	there := func(name string) string {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	blank, odd := there("my own project"), there("Größe, v1.0 (it's)")
	for _, test := range []struct{ text, want string }{
		{"Primary working directory: /w", "/w"},
		{"Primary working directory: /not here/at all\nPlatform: linux", "/not here/at all"},
		{"Working directory: " + blank + "\nIs directory a git repo: no", blank},
		{"<env>\n  Working directory: " + odd + "\n</env>", odd},
		{"Your working directory is " + blank + ". Use absolute paths.", blank},
		{"Your working directory is /not here. Use absolute paths.", "/not here"},
		{"Your working directory is " + blank + " and nowhere else", blank},
		{"I'm currently working in the directory: " + blank + "\nfiles", blank},
		{"**Working directory:** `" + odd + "`", odd},
		{"working directory: \"/not here\" (the root)", "/not here"},
		{"(working directory: /w)", "/w"},
		{"<cwd>" + blank + "</cwd>", blank},
		{"- **Workspace Directories:**\n  - " + blank + "\n- next", blank},
		{"Working directory: " + blank + "/\r\n", blank + "/"},
		{"no word of it", ""},
	} {
		if got := workingDirectory([]Message{{Role: "system", Text: test.text}}); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

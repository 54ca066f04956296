package ui

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFresh tells whether dist was built from these sources, without npm.
func TestFresh(t *testing.T) {
	list, err := os.Open("dist.sha256")
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	listed := map[string]bool{}
	for scan := bufio.NewScanner(list); scan.Scan(); {
		want, name, ok := strings.Cut(scan.Text(), "  ")
		if !ok {
			t.Fatalf("dist.sha256 has the line %q", scan.Text())
		}
		listed[name] = true
		content, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not what dist was built from; run internal/ui/build and commit the result", name)
		}
	}
	for _, dir := range []string{"src", "dist"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !listed[filepath.ToSlash(path)] {
				t.Errorf("%s was not there when dist was built; run internal/ui/build and commit the result", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"build.mjs", "package-lock.json", "src/main.tsx", "dist/index.html"} {
		if !listed[name] {
			t.Errorf("dist.sha256 does not list %s", name)
		}
	}
}

// TestOffline looks for addresses that the page would fetch from elsewhere.
func TestOffline(t *testing.T) {
	fetched := regexp.MustCompile(`(?:src|href)="?(?:https?:)?//|url\(["']?(?:https?:)?//|@import|fetch\("http|import\("http`)
	for name, f := range New().files {
		if found := fetched.Find(f.content); found != nil {
			t.Errorf("%s fetches something: %s", name, found)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New()
	}
}

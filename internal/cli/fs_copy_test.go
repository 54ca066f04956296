package cli

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// packed is an archive of entries, each a header and its content.
func packed(t *testing.T, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestExtract(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	archive := packed(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "closed/", Mode: 0o500},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "closed/file"},
		tar.Header{Typeflag: tar.TypeReg, Name: "closed/file", Mode: 0o640},
		tar.Header{Typeflag: tar.TypeReg, Name: "deep/without/folder", Mode: 0o755},
	)
	for range 2 { // what is there is replaced
		if err := os.RemoveAll(filepath.Join(dir, "closed")); err != nil {
			t.Fatal(err)
		}
		if err := extract(dir, bytes.NewReader(archive.Bytes())); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "link")); err != nil || string(text) != "text" {
			t.Errorf("link reads %q, %v", text, err)
		}
		for name, want := range map[string]os.FileMode{"closed": os.ModeDir | 0o500, "closed/file": 0o640, "deep/without/folder": 0o755} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v, want %v", name, info, err, want)
			}
		}
		if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil { // so that it can be removed
			t.Fatal(err)
		}
	}
}

func TestExtractStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"parent":            {{Typeflag: tar.TypeReg, Name: "../victim"}},
		"parent below":      {{Typeflag: tar.TypeReg, Name: "a/../../victim"}},
		"absolute":          {{Typeflag: tar.TypeReg, Name: "/victim"}},
		"folder":            {{Typeflag: tar.TypeDir, Name: "../victim/"}},
		"link":              {{Typeflag: tar.TypeSymlink, Name: "../victim", Linkname: "x"}},
		"hard link":         {{Typeflag: tar.TypeLink, Name: "x", Linkname: "/etc/hostname"}},
		"device":            {{Typeflag: tar.TypeChar, Name: "x"}},
		"through a link":    {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, {Typeflag: tar.TypeReg, Name: "l/victim"}},
		"through one there": {{Typeflag: tar.TypeReg, Name: "there/victim"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "out")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("..", filepath.Join(dir, "there")); err != nil {
				t.Fatal(err)
			}
			if err := extract(dir, packed(t, entries...)); err == nil {
				t.Error("no error")
			}
			if _, err := os.Lstat(filepath.Join(top, "victim")); err == nil {
				t.Error("written outside")
			}
		})
	}
}

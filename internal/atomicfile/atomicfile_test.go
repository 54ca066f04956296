package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// writerVar makes the test binary a program that writes a file until it is killed.
const writerVar = "ATOMICFILE_TEST_WRITE"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVar); path != "" {
		for i := byte('a'); ; i = 'a' + (i-'a'+1)%26 {
			if err := Write(path, content(i), Options{NoSync: true}); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// content is long enough that it is not written by one system call everywhere.
func content(of byte) []byte { return bytes.Repeat([]byte{of}, 1<<20) }

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func TestKilledWriterLeavesOldOrNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Write(path, content('z'), Options{}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		writer := exec.Command(os.Args[0])
		writer.Env = append(os.Environ(), writerVar+"="+path)
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		first, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for changes := 0; changes < 5; {
			data, err := os.ReadFile(path)
			if err != nil || len(data) != 1<<20 || len(bytes.Trim(data, string(data[:1]))) > 0 {
				t.Fatalf("a reader sees a part: %d bytes, %v", len(data), err)
			}
			if now, err := os.Stat(path); err == nil && !os.SameFile(first, now) {
				first = now
				changes++
			}
		}
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = writer.Wait()
		data, err := os.ReadFile(path)
		if err != nil || len(data) != 1<<20 || len(bytes.Trim(data, string(data[:1]))) > 0 {
			t.Fatalf("the killed writer left a part: %d bytes, %v", len(data), err)
		}
	}
	if err := Clean(path); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for name, test := range map[string]struct {
		was, want fs.FileMode
		opts      Options
	}{
		"new":               {0, 0o600, Options{}},
		"new, wide":         {0, 0o755, Options{Mode: 0o755}},
		"new, kept":         {0, 0o644, Options{Mode: 0o644, KeepMode: true}},
		"existing":          {0o644, 0o600, Options{}},
		"existing, wide":    {0o600, 0o644, Options{Mode: 0o644}},
		"existing, kept":    {0o600, 0o600, Options{Mode: 0o644, KeepMode: true}},
		"existing, all":     {0o777, 0o777, Options{KeepMode: true}},
		"existing, nobody":  {0o400, 0o400, Options{Mode: 0o644, KeepMode: true}},
		"existing, no sync": {0o640, 0o640, Options{KeepMode: true, NoSync: true}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if test.was != 0 {
				if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, test.was)); err != nil {
					t.Fatal(err)
				}
			}
			if err := Write(path, []byte("new"), test.opts); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != test.want || info.Size() != 3 {
				t.Errorf("mode %v, %v; want %v", info.Mode(), err, test.want)
			}
		})
	}
}

// The content is on the disk before it gets its name, and the name before the
// call returns.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Write(path, []byte("old"), Options{}); err != nil {
		t.Fatal(err)
	}
	defer func() { fsync = (*os.File).Sync }()
	var seen []string
	fsync = func(f *os.File) error {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		what := "content"
		if f.Name() == dir {
			what = "directory"
		}
		seen = append(seen, what+" with "+string(data))
		return f.Sync()
	}
	if err := Write(path, []byte("new"), Options{}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, ", "); got != "content with old, directory with new" {
		t.Errorf("synced %s", got)
	}
	seen = nil
	if err := Write(path, []byte("new"), Options{NoSync: true}); err != nil || seen != nil {
		t.Errorf("NoSync synced %v, %v", seen, err)
	}
}

func TestFailureChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, write := range map[string]func(path string) error{
		"writer fails": func(path string) error {
			return WriteFunc(path, Options{}, func(w io.Writer) error {
				_, err := w.Write(content('x'))
				return errors.Join(err, broken)
			})
		},
		"writer panics": func(path string) (err error) {
			defer func() { err, _ = recover().(error) }()
			return WriteFunc(path, Options{}, func(io.Writer) error { panic(broken) })
		},
		"disk fails": func(path string) error {
			defer func() { fsync = (*os.File).Sync }()
			fsync = func(f *os.File) error { return &fs.PathError{Op: "sync", Path: f.Name(), Err: broken} }
			return Write(path, []byte("new"), Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if err := Write(path, []byte("old"), Options{}); err != nil {
				t.Fatal(err)
			}
			if err := write(path); !errors.Is(err, broken) || strings.Contains(err.Error(), suffix) {
				t.Errorf("error %v", err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
				t.Errorf("content %q, %v", data, err)
			}
			if names := entries(t, dir); len(names) != 1 {
				t.Errorf("left: %v", names)
			}
		})
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]error{
		filepath.Join(dir, "none", "file"): fs.ErrNotExist,
		dir:                                syscall.EEXIST, // a file cannot replace a directory
	} {
		err := Write(path, nil, Options{})
		pathErr, ok := errors.AsType[*fs.PathError](err)
		if !ok || pathErr.Path != path || !errors.Is(err, want) && !errors.Is(err, syscall.EISDIR) {
			t.Errorf("Write(%s): %v, want %v", path, err, want)
		}
	}
	if names := entries(t, dir); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

func TestLongNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("n", 255))
	if err := Write(path, []byte("x"), Options{}); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); len(names) != 1 {
		t.Errorf("there is %v", names)
	}
}

func TestConcurrentWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	var wait sync.WaitGroup
	for i := range byte(8) {
		wait.Go(func() {
			for range 5 {
				if err := Write(path, content('a'+i), Options{NoSync: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 1<<20 || len(bytes.Trim(data, string(data[:1]))) > 0 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if names := entries(t, dir); len(names) != 1 {
		t.Errorf("left: %v", names)
	}
}

func TestCleanRemovesOnlyWhatItsWritersLeft(t *testing.T) {
	dir := t.TempDir()
	keep := []string{".file.1.old", ".file.backup.new", ".file.new", ".file2.7.new", ".other.7.new", "file", "file.7.new"}
	for _, name := range append(keep, ".file.7.new", ".file.18446744073709551615.new") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clean(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); strings.Join(names, " ") != strings.Join(keep, " ") {
		t.Errorf("left %v, want %v", names, keep)
	}
	if err := Clean(filepath.Join(dir, "none", "file")); err != nil {
		t.Errorf("in a directory that does not exist: %v", err)
	}
}

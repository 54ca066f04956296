package changes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/git"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func gitHere() git.Git {
	return git.Git{Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}}
}

// start copies the directory from and returns the copy.
func start(t *testing.T, from string) Workspace {
	t.Helper()
	w := Workspace{Dir: t.TempDir(), State: filepath.Join(t.TempDir(), "base"), Git: gitHere()}
	if err := w.Copy(t.Context(), from, CopyOptions{UID: -1}); err != nil {
		t.Fatal(err)
	}
	return w
}

func compareNow(t *testing.T, w Workspace, ignored bool) *Comparison {
	t.Helper()
	c, err := w.Compare(t.Context(), ignored)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// listing describes a tree by other means than the package: find and the files
// themselves.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case rel == "." || d.Name() == ".git":
			if rel != "." {
				return fs.SkipDir
			}
		case d.IsDir():
			found[rel] = "directory " + info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			found[rel] = "link " + to
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[rel] = info.Mode().String() + " " + string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func diffListings(a, b map[string]string) (diff []string) {
	for path, text := range a {
		if other, ok := b[path]; !ok || other != text {
			diff = append(diff, fmt.Sprintf("%q: %.80q, and %.80q", path, text, other))
		}
	}
	for path, text := range b {
		if _, ok := a[path]; !ok {
			diff = append(diff, fmt.Sprintf("%q: nothing, and %.80q", path, text))
		}
	}
	slices.Sort(diff)
	return diff[:min(len(diff), 10)]
}

var oddNames = []string{
	"a", "b.txt", "c-d", "größe", "日本", "with space", "-dash", "quo\"te", "back\\slash", "new\nline", "tab\t", "\xff\xfe", "...", "#x", "a b", ".hidden", "c",
}

// grow puts random things into a directory, and edit changes what is there.
func grow(t *testing.T, rng *rand.Rand, dir string, files int) {
	t.Helper()
	dirs := []string{dir}
	for range files {
		parent := dirs[rng.IntN(len(dirs))]
		path := filepath.Join(parent, fmt.Sprint(oddNames[rng.IntN(len(oddNames))], rng.IntN(1000)))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		var err error
		switch rng.IntN(10) {
		case 0, 1:
			err = os.Mkdir(path, []fs.FileMode{0o755, 0o700, 0o775}[rng.IntN(3)])
			dirs = append(dirs, path)
		case 2:
			err = os.Symlink([]string{"a", "../x", "/etc/passwd", "."}[rng.IntN(4)], path)
		default:
			err = os.WriteFile(path, content(rng), []fs.FileMode{0o644, 0o755, 0o600}[rng.IntN(3)])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func content(rng *rand.Rand) []byte {
	var out bytes.Buffer
	for range rng.IntN(30) {
		fmt.Fprintf(&out, "line %d\n", rng.IntN(50))
	}
	if rng.IntN(4) == 0 {
		out.Write([]byte{0, 1, 0xff, '\r', '\n'})
	}
	return out.Bytes()
}

func edit(t *testing.T, rng *rand.Rand, dir string) {
	t.Helper()
	var paths []string
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			paths = append(paths, path)
		}
		return nil
	})
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			continue // gone with what it was in
		}
		switch rng.IntN(8) {
		case 0:
			err = os.RemoveAll(path)
		case 1:
			err = os.Rename(path, filepath.Join(dir, fmt.Sprint("moved", rng.IntN(1_000_000))))
		case 2: // another kind
			err = os.RemoveAll(path)
			if err == nil && info.IsDir() {
				err = os.WriteFile(path, content(rng), 0o644)
			} else if err == nil {
				err = os.MkdirAll(filepath.Join(path, "in"), 0o755)
			}
		case 3:
			if info.Mode().IsRegular() {
				err = os.WriteFile(path, content(rng), 0o644)
			}
		case 4:
			if info.Mode()&fs.ModeSymlink == 0 {
				err = os.Chmod(path, 0o750)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	grow(t, rng, dir, rng.IntN(10))
}

func TestAppliedTreeEqualsTheCopy(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		from := t.TempDir()
		grow(t, rng, from, 5+rng.IntN(40))
		w := start(t, from)
		if diff := diffListings(listing(t, from), listing(t, w.Dir)); diff != nil {
			t.Fatalf("seed %d: the copy differs: %s", seed, strings.Join(diff, "\n"))
		}
		for round := range 2 {
			edit(t, rng, w.Dir)
			c := compareNow(t, w, false)
			if _, err := c.Apply(t.Context(), from, ApplyOptions{}); err != nil {
				t.Fatalf("seed %d, round %d: %v", seed, round, err)
			}
			if diff := diffListings(listing(t, from), listing(t, w.Dir)); diff != nil {
				t.Fatalf("seed %d, round %d: the directory differs from the copy:\n%s", seed, round, strings.Join(diff, "\n"))
			}
			if err := errors.Join(w.Advance(t.Context(), c), c.Close()); err != nil {
				t.Fatal(err)
			}
		}
		if c := compareNow(t, w, false); !c.Empty() {
			t.Fatalf("seed %d: %d changes are left", seed, len(c.changes))
		}
	}
}

func TestManyFiles(t *testing.T) {
	from := t.TempDir()
	for i := range 10_000 {
		write(t, filepath.Join(from, fmt.Sprint("d", i%100), fmt.Sprint("f", i)), fmt.Sprint("file ", i, "\n"))
	}
	w := start(t, from)
	for i := range 10_000 {
		if i%3 == 0 {
			write(t, filepath.Join(w.Dir, fmt.Sprint("d", i%100), fmt.Sprint("f", i)), fmt.Sprint("changed ", i, "\n"))
		}
	}
	c := compareNow(t, w, false)
	if len(c.changes) != 3334 {
		t.Fatalf("%d changes", len(c.changes))
	}
	if _, err := c.Apply(t.Context(), from, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := diffListings(listing(t, from), listing(t, w.Dir)); diff != nil {
		t.Error(strings.Join(diff, "\n"))
	}
}

// The patch is one that git itself takes, and makes the same files of.
func TestPatchIsOneThatGitApplies(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		from := t.TempDir()
		grow(t, rng, from, 30)
		w := start(t, from)
		edit(t, rng, w.Dir)
		var patch bytes.Buffer
		if err := compareNow(t, w, false).Patch(t.Context(), &patch); err != nil {
			t.Fatal(err)
		}
		if patch.Len() == 0 {
			continue
		}
		if out, err := exec.Command("find", from, "-mindepth", "1", "-type", "d", "-empty", "-delete").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out) // git does not see them in its way
		}
		cmd := exec.Command("git", "apply", "--unsafe-paths", "--directory="+from, "-")
		cmd.Dir, cmd.Stdin = "/", &patch
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("seed %d: git apply: %v: %s", seed, err, out)
		}
		if diff := diffListings(onlyContents(listing(t, from)), onlyContents(listing(t, w.Dir))); diff != nil {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(diff, "\n"))
		}
	}
}

// onlyContents leaves out what a patch of git does not have.
func onlyContents(tree map[string]string) map[string]string {
	short := make(map[string]string)
	for path, text := range tree {
		mode, rest, _ := strings.Cut(text, " ")
		switch {
		case mode == "directory":
		case mode == "link":
			short[path] = text
		default:
			short[path] = fmt.Sprint(strings.Contains(mode, "x"), rest)
		}
	}
	return short
}

func TestApplyRefusesWhatMovedOn(t *testing.T) {
	for name, c := range map[string]struct {
		sandbox, user func(dir string)
		conflict      string // empty if there is none
	}{
		"another file": {
			func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, func(d string) { os.WriteFile(d+"/b", []byte("u\n"), 0o644) }, ""},
		"same content": {
			func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, ""},
		"both edited": {
			func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, func(d string) { os.WriteFile(d+"/a", []byte("u\n"), 0o644) }, "a"},
		"both added": {
			func(d string) { os.WriteFile(d+"/n", []byte("s\n"), 0o644) }, func(d string) { os.WriteFile(d+"/n", []byte("u\n"), 0o644) }, "n"},
		"edited and removed": {
			func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, func(d string) { os.Remove(d + "/a") }, "a"},
		"removed and edited": {
			func(d string) { os.Remove(d + "/a") }, func(d string) { os.WriteFile(d+"/a", []byte("u\n"), 0o644) }, "a"},
		"both removed": {
			func(d string) { os.Remove(d + "/a") }, func(d string) { os.Remove(d + "/a") }, ""},
		"directory became a link": {
			func(d string) { os.WriteFile(d+"/sub/n", []byte("s\n"), 0o644) },
			func(d string) { os.RemoveAll(d + "/sub"); os.Symlink("other", d+"/sub") }, "sub/n"},
		"directory became a file": {
			func(d string) { os.WriteFile(d+"/sub/n", []byte("s\n"), 0o644) },
			func(d string) { os.RemoveAll(d + "/sub"); os.WriteFile(d+"/sub", nil, 0o644) }, "sub/n"},
		"made executable": {
			func(d string) { os.WriteFile(d+"/a", []byte("s\n"), 0o644) }, func(d string) { os.Chmod(d+"/a", 0o755) }, "a"},
		"file took the place of a new directory": {
			func(d string) { os.MkdirAll(d+"/new/in", 0o755) }, func(d string) { os.WriteFile(d+"/new", []byte("u"), 0o644) }, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			from := t.TempDir()
			write(t, from+"/a", "one\n")
			write(t, from+"/b", "two\n")
			write(t, from+"/sub/c", "three\n")
			if err := os.Mkdir(from+"/other", 0o755); err != nil {
				t.Fatal(err)
			}
			w := start(t, from)
			c.sandbox(w.Dir)
			c.user(from)
			before := listing(t, from)
			_, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{})
			if c.conflict == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, api.CodeChangesConflict) || !strings.Contains(err.Error(), c.conflict) {
				t.Errorf("error %v", err)
			}
			if diff := diffListings(before, listing(t, from)); diff != nil {
				t.Errorf("something was written: %s", strings.Join(diff, "\n"))
			}
		})
	}
}

// A merge has what git merge-file makes of the three files, or is refused where it
// has no result without conflicts.
func TestMergeDoesAsGitMergeFile(t *testing.T) {
	merged, refused := 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var lines []string
		for i := range 20 + rng.IntN(20) {
			lines = append(lines, fmt.Sprintf("line %d", i))
		}
		change := func() string {
			out := slices.Clone(lines)
			for range 1 + rng.IntN(3) {
				i := rng.IntN(len(out))
				switch rng.IntN(3) {
				case 0:
					out[i] = fmt.Sprint("changed ", rng.IntN(1000))
				case 1:
					out = slices.Delete(out, i, i+1)
				case 2:
					out = slices.Insert(out, i, fmt.Sprint("new ", rng.IntN(1000)))
				}
			}
			return strings.Join(out, "\n") + "\n"
		}
		from, base := t.TempDir(), strings.Join(lines, "\n")+"\n"
		write(t, from+"/f", base)
		w := start(t, from)
		ours, theirs := change(), change()
		write(t, w.Dir+"/f", theirs)
		write(t, from+"/f", ours)
		dir := t.TempDir()
		write(t, dir+"/ours", ours)
		write(t, dir+"/base", base)
		write(t, dir+"/theirs", theirs)
		want, conflict := exec.Command("git", "merge-file", "-p", dir+"/ours", dir+"/base", dir+"/theirs").Output()
		applied, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{Merge: true})
		got, _ := os.ReadFile(from + "/f")
		if conflict != nil {
			refused++
			if !errors.Is(err, api.CodeChangesConflict) || string(got) != ours {
				t.Errorf("seed %d: error %v, file %q", seed, err, got)
			}
			continue
		}
		merged++
		if err != nil || string(got) != string(want) {
			t.Errorf("seed %d: error %v, file %q, want %q", seed, err, got, want)
		} else if ours != theirs && !slices.Equal(applied.Merged, []string{"f"}) {
			t.Errorf("seed %d: merged %v", seed, applied.Merged)
		}
	}
	if merged < 10 || refused < 3 {
		t.Errorf("%d merges and %d conflicts are too few to say anything", merged, refused)
	}
}

func TestIgnoredFilesAreCountedAndBroughtOnRequest(t *testing.T) {
	from := t.TempDir()
	repo := func(args ...string) {
		if out, err := exec.Command("git", append([]string{"-C", from}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	repo("init", "-q")
	write(t, from+"/.gitignore", "*.log\nbuild/\n")
	write(t, from+"/.git/info/exclude", "private\n")
	write(t, from+"/tracked.log", "t\n")
	write(t, from+"/old.log", "o\n")
	repo("add", "-f", "tracked.log", ".gitignore")
	w := start(t, from)
	write(t, w.Dir+"/tracked.log", "changed\n")
	write(t, w.Dir+"/old.log", "changed\n")
	write(t, w.Dir+"/new.log", "n\n")
	write(t, w.Dir+"/build/out", "b\n")
	write(t, w.Dir+"/private", "p\n")
	write(t, w.Dir+"/plain", "x\n")

	c := compareNow(t, w, false)
	if got := paths(t, c); !slices.Equal(got, []string{"plain", "tracked.log"}) {
		t.Errorf("changes %q", got)
	}
	changes, err := c.Changes(t.Context())
	if err != nil || changes.Ignored != 4 {
		t.Errorf("%d are ignored, error %v", changes.Ignored, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	all := compareNow(t, w, true)
	if got := paths(t, all); !slices.Equal(got, []string{"build/out", "new.log", "old.log", "plain", "private", "tracked.log"}) {
		t.Errorf("changes with ignored ones %q", got)
	}
	if _, err := all.Apply(t.Context(), from, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := diffListings(listing(t, from), listing(t, w.Dir)); diff != nil {
		t.Error(strings.Join(diff, "\n"))
	}
}

// A tree that says of a path that it is ignored after it was a part of the base does
// not hide what becomes of it.
func TestAgentCannotHideByIgnoring(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/main.go", "package main\n")
	w := start(t, from)
	write(t, w.Dir+"/.gitignore", "*\n")
	write(t, w.Dir+"/main.go", "package evil\n")
	c := compareNow(t, w, false)
	if got := paths(t, c); !slices.Equal(got, []string{"main.go"}) {
		t.Errorf("changes %q", got)
	}
	if c.left == nil {
		t.Error("the new ignore file is not counted")
	}
}

func paths(t *testing.T, c *Comparison) (list []string) {
	t.Helper()
	changes, err := c.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range changes.Files {
		list = append(list, f.Path)
	}
	return list
}

func TestChangesDescribeFiles(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/edit", "1\n2\n3\n")
	write(t, from+"/gone", "x\n")
	write(t, from+"/run.sh", "#!/bin/sh\n")
	w := start(t, from)
	write(t, w.Dir+"/edit", "1\ntwo\n3\n4\n")
	write(t, w.Dir+"/blob", "\x00\x01")
	write(t, w.Dir+"/.envrc", "rm -rf ~\n")
	err := errors.Join(os.Remove(w.Dir+"/gone"), os.Chmod(w.Dir+"/run.sh", 0o755), os.Symlink("/etc", w.Dir+"/link"), os.MkdirAll(w.Dir+"/empty", 0o755),
		syscall.Mkfifo(w.Dir+"/pipe", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	changes, err := compareNow(t, w, false).Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []api.Change{
		{Path: ".envrc", Status: api.ChangeAdded, Mode: "100644", Size: 9, Insertions: 1, Runs: "a tool that watches directories runs it"},
		{Path: "blob", Status: api.ChangeAdded, Mode: "100644", Size: 2, Binary: true},
		{Path: "edit", Status: api.ChangeModified, OldMode: "100644", Mode: "100644", Size: 10, Insertions: 2, Deletions: 1},
		{Path: "empty", Status: api.ChangeAdded, Mode: "040755"},
		{Path: "gone", Status: api.ChangeDeleted, OldMode: "100644", Deletions: 1},
		{Path: "link", Status: api.ChangeAdded, Mode: "120000", Size: 4, Insertions: 1},
		{Path: "run.sh", Status: api.ChangeModified, OldMode: "100644", Mode: "100755", Size: 10},
	}
	if !slices.Equal(changes.Files, want) {
		t.Errorf("changes %+v\nwant    %+v", changes.Files, want)
	}
	if changes.Insertions != 4 || changes.Deletions != 2 {
		t.Errorf("%d lines added, %d removed", changes.Insertions, changes.Deletions)
	}
	if len(changes.Skipped) != 1 || changes.Skipped[0] != (api.SkippedPath{Path: "pipe", Reason: "it is a named pipe"}) {
		t.Errorf("skipped %v", changes.Skipped)
	}
}

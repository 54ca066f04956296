package changes

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// What a tree says to git runs no program outside: configuration, hooks, filters,
// attributes, external diffs, of the repository and of ones nested in it.
func TestHostileTreeRunsNothing(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/a.txt", "one\n")
	write(t, from+"/sub/b.txt", "two\n")
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"}} {
		if out, err := exec.Command("git", append([]string{"-C", from}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	w := start(t, from)
	ran, evil := filepath.Join(t.TempDir(), "ran"), filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(evil, []byte("#!/bin/sh\necho \"$0 $*\" >>"+ran+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := "[core]\nfsmonitor=" + evil + "\npager=" + evil + "\nhooksPath=" + filepath.Dir(evil) + "\nattributesFile=" + w.Dir + "/.gitattributes\n" +
		"[filter \"evil\"]\nclean=" + evil + "\nsmudge=" + evil + "\nprocess=" + evil + "\n[diff]\nexternal=" + evil +
		"\n[diff \"evil\"]\ntextconv=" + evil + "\ncommand=" + evil + "\n[merge \"evil\"]\ndriver=" + evil + "\n"
	write(t, w.Dir+"/.git/config", config)
	write(t, w.Dir+"/.gitattributes", "* filter=evil diff=evil merge=evil text eol=crlf ident\n")
	write(t, w.Dir+"/.git/info/attributes", "* filter=evil diff=evil merge=evil\n")
	for _, hook := range []string{"pre-commit", "post-checkout", "post-index-change", "reference-transaction", "post-applypatch"} {
		write(t, w.Dir+"/.git/hooks/"+hook, "#!/bin/sh\necho hook >>"+ran+"\n")
		os.Chmod(w.Dir+"/.git/hooks/"+hook, 0o755)
	}
	write(t, w.Dir+"/nested/.git/config", config)
	write(t, w.Dir+"/nested/file", "in a nested repository\n")
	write(t, w.Dir+"/link/.git", "gitdir: "+w.Dir+"/nested/.git\n")
	write(t, w.Dir+"/a.txt", "$Id$ one\r\nchanged\n")

	c := compareNow(t, w, true)
	var out bytes.Buffer
	if err := errors.Join(c.Patch(t.Context(), &out), c.Stat(t.Context(), &out, 80)); err != nil {
		t.Fatal(err)
	}
	write(t, from+"/sub/b.txt", "mine\ntwo\n")
	write(t, w.Dir+"/sub/b.txt", "two\ntheirs\n")
	applied, err := c.Apply(t.Context(), from, ApplyOptions{Merge: true})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("ran: %s", text)
	}
	if data, _ := os.ReadFile(from + "/a.txt"); string(data) != "$Id$ one\r\nchanged\n" {
		t.Errorf("a.txt is %q", data)
	}
	for _, f := range applied.Files {
		if slices.Contains(strings.Split(f.Path, "/"), ".git") {
			t.Errorf("%s was applied", f.Path)
		}
	}
	if config, _ := os.ReadFile(from + "/.git/config"); strings.Contains(string(config), "evil") {
		t.Error("the configuration of the repository was applied")
	}
}

func TestDisguisesOfGitAreRefused(t *testing.T) {
	for _, name := range []string{".GIT", ".Git", ".gi\u200ct", "\u200d.git", ".git.", ".git ", ".git. .", "git~1", "GIT~2", ".git::$INDEX_ALLOCATION", ".git:x", ".git\\hooks"} {
		from := t.TempDir()
		write(t, from+"/a", "a\n")
		w := start(t, from)
		write(t, w.Dir+"/a", "b\n")
		write(t, w.Dir+"/sub/"+name+"/config", "[core]\n")
		_, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{})
		if !errors.Is(err, api.CodeChangesConflict) || !strings.Contains(err.Error(), "sub/") {
			t.Errorf("%q: %v", name, err)
		}
		if data, _ := os.ReadFile(from + "/a"); string(data) != "a\n" {
			t.Errorf("%q: something was written", name)
		}
	}
	for _, name := range []string{".gitignore", "git", ".gitx", "a.git", "git~x", "git~", ".github"} {
		if Disguised(name) {
			t.Errorf("%q is no disguise", name)
		}
	}
}

// A directory that turns into a link and back while it is read leads nowhere.
func TestLinksThatChangeDuringADiffLeadNowhere(t *testing.T) {
	secret := t.TempDir()
	write(t, secret+"/f", "the secret\n")
	from := t.TempDir()
	for _, dir := range []string{"a", "b", "c"} {
		write(t, from+"/"+dir+"/f", "plain\n")
	}
	w := start(t, from)
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, path := range []string{w.Dir + "/a", w.Dir + "/b/f", w.Dir + "/c"} {
				target := secret
				if strings.HasSuffix(path, "/f") {
					target = secret + "/f"
				}
				os.Rename(path, path+".real")
				os.Symlink(target, path)
				os.Remove(path)
				os.Rename(path+".real", path)
			}
		}
	})
	for range 20 {
		c, err := w.Compare(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		var patch bytes.Buffer
		if err := c.Patch(t.Context(), &patch); err != nil {
			t.Error(err)
		}
		if strings.Contains(patch.String(), "the secret") {
			t.Error("the patch has the secret")
		}
		c.Close()
	}
	close(stop)
	swapping.Wait()
}

// Links in the copy, and in the target, are not followed when changes are applied.
func TestApplyWritesNothingOutside(t *testing.T) {
	outside := t.TempDir()
	write(t, outside+"/f", "outside\n")
	from := t.TempDir()
	write(t, from+"/dir/f", "in\n")
	write(t, from+"/file", "in\n")
	w := start(t, from)
	os.RemoveAll(w.Dir + "/dir")
	os.Remove(w.Dir + "/file")
	if err := errors.Join(os.Symlink(outside, w.Dir+"/dir"), os.Symlink(outside+"/f", w.Dir+"/file")); err != nil {
		t.Fatal(err)
	}
	if _, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if to, _ := os.Readlink(from + "/dir"); to != outside {
		t.Errorf("dir leads to %q", to)
	}

	// The other way round: what was a link in the copy is a directory now.
	from = t.TempDir()
	if err := errors.Join(os.Symlink(outside, from+"/dir"), os.Symlink(outside+"/f", from+"/file")); err != nil {
		t.Fatal(err)
	}
	w = start(t, from)
	os.Remove(w.Dir + "/dir")
	os.Remove(w.Dir + "/file")
	write(t, w.Dir+"/dir/f", "new\n")
	write(t, w.Dir+"/dir/g", "new\n")
	write(t, w.Dir+"/file", "new\n")
	if _, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := diffListings(listing(t, from), listing(t, w.Dir)); diff != nil {
		t.Error(strings.Join(diff, "\n"))
	}
	if got := listing(t, outside); len(got) != 1 || !strings.HasSuffix(got["f"], "outside\n") {
		t.Errorf("outside: %q", got)
	}
}

// What fails in the middle is undone.
func TestFailedApplyIsUndone(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/.gitignore", "cache\n")
	write(t, from+"/a", "one\n")
	write(t, from+"/dir/x", "x\n")
	write(t, from+"/dir/cache", "kept by the user\n")
	os.Symlink("a", from+"/z")
	w := start(t, from)
	write(t, w.Dir+"/a", "two\n")
	write(t, w.Dir+"/new/deep/f", "new\n")
	os.Remove(w.Dir + "/z")
	os.RemoveAll(w.Dir + "/dir")
	write(t, w.Dir+"/dir", "a file now, for which a directory with an ignored file is in the way\n")
	before := listing(t, from)
	_, err := compareNow(t, w, false).Apply(t.Context(), from, ApplyOptions{})
	if err == nil || !strings.Contains(err.Error(), "nothing is changed") {
		t.Fatalf("error %v", err)
	}
	if diff := diffListings(before, listing(t, from)); diff != nil {
		t.Error(strings.Join(diff, "\n"))
	}
}

// A comparison of a workspace that a killed one was reading finds nothing of it.
func TestCompareSweepsWhatAKilledOneLeft(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/a", "a\n")
	w := start(t, from)
	write(t, w.State+"/compare/store/objects/x", "half")
	write(t, w.Dir+"/a", "b\n")
	if got := paths(t, compareNow(t, w, false)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("changes %q", got)
	}
}

func TestCopyNamesWhatItCannotRead(t *testing.T) {
	from := t.TempDir()
	write(t, from+"/big", strings.Repeat("x", 1000))
	err := Copy(t.Context(), from, t.TempDir(), CopyOptions{UID: -1, MaxBytes: 999})
	if !errors.Is(err, api.CodeLimitExceeded) {
		t.Errorf("too large: %v", err)
	}
	if os.Geteuid() == 0 {
		cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", os.Args[0], "-test.run=TestCopyNamesWhatItCannotRead")
		cmd.Dir, cmd.Env = "/", append(os.Environ(), "TMPDIR="+ordinary(t))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("as an ordinary user: %v: %s", err, out)
		}
		return
	}
	write(t, from+"/locked", "x")
	write(t, from+"/dir/x", "x")
	if err := errors.Join(os.Chmod(from+"/locked", 0), os.Chmod(from+"/dir", 0)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(from+"/dir", 0o700)
	err = Copy(t.Context(), from, t.TempDir(), CopyOptions{UID: -1})
	if err == nil || !strings.Contains(err.Error(), "locked: permission denied") || !strings.Contains(err.Error(), "dir: permission denied") {
		t.Errorf("unreadable: %v", err)
	}
}

// ordinary returns a directory that an ordinary user can write, with a way to it.
func ordinary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "changes")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

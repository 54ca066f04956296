package git

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func here() Git { return Git{Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}} }

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// repository makes a repository with one commit of the files.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text, 0o644)
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "first"}} {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v (git must be installed): %v: %s", args, err, out)
		}
	}
	return dir
}

func remoteOf(t *testing.T, address string) Remote {
	t.Helper()
	r, err := ParseRemote(address)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFetch(t *testing.T) {
	from := repository(t, map[string]string{"a.txt": "a", "dir/b.txt": "b"})
	for _, address := range []string{from, "file://" + from} {
		tree := t.TempDir()
		if err := here().Fetch(t.Context(), tree, remoteOf(t, address), "", 0); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(tree, "dir", "b.txt"))
		if err != nil || string(data) != "b" {
			t.Errorf("%s: %q, %v", address, data, err)
		}
	}
	err := here().Fetch(t.Context(), t.TempDir(), remoteOf(t, from), "none", 0)
	if problem, ok := errors.AsType[*api.Error](err); !ok || !strings.Contains(problem.Error(), "none") {
		t.Errorf("a ref that does not exist: %v", err)
	}
}

func TestFetchIsBounded(t *testing.T) {
	from := repository(t, map[string]string{"a.txt": strings.Repeat("0123456789", 1000)})
	if err := here().Fetch(t.Context(), t.TempDir(), remoteOf(t, from), "", 5000); !errors.Is(err, api.CodeLimitExceeded) {
		t.Errorf("too large: %v", err)
	}
	slow := filepath.Join(t.TempDir(), "git")
	write(t, slow, "#!/bin/sh\nsleep 1000 & sleep 1000\n", 0o755)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := (Git{Program: slow}).Fetch(ctx, t.TempDir(), remoteOf(t, from), "", 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too slow: %v", err)
	}
	err := Git{Program: slow + ".none"}.Fetch(t.Context(), t.TempDir(), remoteOf(t, from), "", 0)
	if _, ok := errors.AsType[*NotFoundError](err); !ok {
		t.Errorf("without git: %v", err)
	}
}

// What is in a work tree of others runs no program: neither their configuration,
// nor hooks, nor filters.
func TestWorkTreeOfOthersRunsNothing(t *testing.T) {
	tree := repository(t, map[string]string{"a.txt": "a", ".gitattributes": "*.txt filter=evil diff=evil\n"})
	ran := filepath.Join(t.TempDir(), "ran")
	evil := filepath.Join(t.TempDir(), "evil")
	write(t, evil, "#!/bin/sh\necho \"$0 $*\" >>"+ran+"\ncat\n", 0o755)
	config := "[core]\nfsmonitor=" + evil + "\nsshCommand=" + evil + "\npager=" + evil + "\nhooksPath=" + filepath.Dir(evil) +
		"\n[filter \"evil\"]\nclean=" + evil + "\nsmudge=" + evil + "\nprocess=" + evil + "\n[diff]\nexternal=" + evil + "\n[diff \"evil\"]\ntextconv=" + evil + "\n"
	write(t, filepath.Join(tree, ".git", "config"), config, 0o644)
	for _, hook := range []string{"pre-commit", "post-checkout", "post-index-change"} {
		write(t, filepath.Join(tree, ".git", "hooks", hook), "#!/bin/sh\necho hook >>"+ran+"\n", 0o755)
	}
	write(t, filepath.Join(tree, "a.txt"), "changed", 0o644)
	g := here()
	g.Env = append(g.Env, "GIT_DIR="+filepath.Join(tree, ".git"), "GIT_CONFIG_PARAMETERS='core.pager="+evil+"'", "GIT_EXTERNAL_DIFF="+evil)
	private := filepath.Join(t.TempDir(), "private.git")
	var out bytes.Buffer
	for _, args := range [][]string{{"init", "--quiet", "--template="}, {"add", "-A"}, {"write-tree"}, {"status", "--porcelain"}, {"diff", "--cached", "--stat"}, {"checkout-index", "-a", "-f"}} {
		if err := g.Run(t.Context(), Command{Args: args, Dir: tree, GitDir: private, Stdout: &out}); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("ran: %s", text)
	}
	if !strings.Contains(out.String(), "A  a.txt") {
		t.Errorf("output %q", out.String())
	}
}

// A password in an address is in no argument and no error.
func TestPasswordStaysSecret(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	fake := filepath.Join(t.TempDir(), "git")
	write(t, fake, "#!/bin/sh\necho \"$@\" >>"+log+"\necho \"cannot reach $GIT_CONFIG_KEY_0\" >&2; exit 1\n", 0o755)
	remote := remoteOf(t, "https://me:hunter2@127.0.0.1:1/o/r.git")
	if remote.Name != "https://127.0.0.1:1/o/r.git" || remote.Base != "r" {
		t.Errorf("names %q and %q", remote.Name, remote.Base)
	}
	err := Git{Program: fake}.Run(t.Context(), Command{Args: []string{"ls-remote"}, Dir: t.TempDir(), Remote: remote})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "url.https://xxxxx@127.0.0.1:1/o/r.git.insteadOf") {
		t.Errorf("error %v", err)
	}
	if args, err := os.ReadFile(log); err != nil || strings.Contains(string(args), "hunter2") {
		t.Errorf("arguments %s, %v", args, err)
	}
}

func TestRemotesAndRefs(t *testing.T) {
	for _, address := range []string{"https://h/o/r", "http://h/r.git", "ssh://me@h/r", "git://h/r", "git@h:o/r", "/abs/r", "file:///abs/r"} {
		if _, err := ParseRemote(address); err != nil {
			t.Errorf("ParseRemote(%q): %v", address, err)
		}
	}
	for _, address := range []string{"", "/", "rel/r", "ext::sh -c x", "-u", "--upload-pack=x", "https:///r", "ftp://h/r", "a@b:c:d", "https://h/r\nx", "fd::17"} {
		if _, err := ParseRemote(address); err == nil {
			t.Errorf("ParseRemote(%q): no error", address)
		}
	}
	for ref, want := range map[string]bool{
		"": true, "main": true, "v1.2": true, "refs/heads/a-b": true,
		"-x": false, "+main": false, "a:b": false, "a..b": false, "a b": false, "a^": false, "a~1": false, "a*": false, "a\x7f": false,
	} {
		if got := ValidRef(ref); got != want {
			t.Errorf("ValidRef(%q) = %v", ref, got)
		}
	}
	commit := strings.Repeat("0123456789", 4)
	if !IsCommit(commit) || IsCommit(commit[1:]) || IsCommit("main") {
		t.Error("IsCommit is wrong")
	}
}

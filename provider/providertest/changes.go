package providertest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// testCopy works on a copy of a repository, commits in it, and brings the change back.
func (s *suite) testCopy(t *testing.T) {
	dir := TempDir(t)
	for name, text := range map[string]string{"a.txt": "one\ntwo\n", "gone.txt": "gone\n", ".gitignore": "*.log\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "safe.directory=*", "-c", "user.name=a", "-c", "user.email=a@b", "-C", dir}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	i := s.create(t, provider.Spec{Workspace: provider.Workspace{Mode: provider.WorkspaceCopy, Dir: dir}})
	s.sh(t, i.ID, `set -e
		echo three >>a.txt; rm gone.txt; mkdir -p new/empty; printf '\000' >new/blob; ln -s a.txt new/link; echo x >x.log
		git -c user.name=b -c user.email=b@c commit -q -a -m "from inside"
		chmod 755 new/blob; printf '[core]\n\tfsmonitor = touch /tmp/ran\n' >>.git/config`)
	if text := git("status", "--porcelain"); text != "" {
		t.Errorf("the directory was changed: %s", text)
	}
	var patch, commits bytes.Buffer
	changes, err := s.p.Diff(Context(t), i.ID, provider.DiffOptions{Patch: &patch, Commits: &commits})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range changes.Files {
		paths = append(paths, f.Path+" "+string(f.Status))
	}
	want := []string{"a.txt modified", "gone.txt deleted", "new/blob added", "new/empty added", "new/link added"}
	if !slices.Equal(paths, want) || changes.Ignored != 1 {
		t.Errorf("changes %q and %d ignored, want %q", paths, changes.Ignored, want)
	}
	if !strings.Contains(patch.String(), "+three") || !strings.Contains(commits.String(), "Subject: [PATCH] from inside") {
		t.Errorf("patch %s\ncommits %s", &patch, &commits)
	}
	if n, err := s.p.Kept(Context(t), i.ID); n != len(want) || err != nil {
		t.Errorf("%d changes are kept, %v", n, err)
	}
	applied, err := s.p.Apply(Context(t), i.ID, provider.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(applied.Files) != len(want) {
		t.Errorf("applied %+v", applied)
	}
	if info, err := os.Stat(filepath.Join(dir, "new", "blob")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("new/blob: %v, %v", info, err)
	}
	if text := git("log", "--oneline"); strings.Count(text, "\n") != 1 {
		t.Errorf("commits were applied: %s", text)
	}
	if n, err := s.p.Kept(Context(t), i.ID); n != 0 || err != nil {
		t.Errorf("%d changes are kept after they were applied, %v", n, err)
	}
	s.conflict(t, i.ID, dir)
	s.archived(t, i.ID)
}

// conflict changes a line on both sides.
func (s *suite) conflict(t *testing.T, id, dir string) {
	t.Helper()
	s.sh(t, id, "echo inside >a.txt")
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("outside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.p.Apply(Context(t), id, provider.ApplyOptions{}); !errors.Is(err, api.CodeChangesConflict) {
		t.Errorf("both sides changed a file: %v", err)
	}
	to := filepath.Join(TempDir(t), "other")
	if _, err := s.p.Apply(Context(t), id, provider.ApplyOptions{Dir: to}); !errors.Is(err, api.CodeChangesConflict) {
		t.Errorf("a directory without the file: %v", err)
	}
}

// archived destroys a sandbox that has a change, and finds the change again.
func (s *suite) archived(t *testing.T, id string) {
	t.Helper()
	if err := s.p.Destroy(Context(t), id); err != nil {
		t.Fatal(err)
	}
	list, err := s.p.Archived(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list, func(a provider.Archived) bool { return a.ID == id })
	if at < 0 {
		t.Fatalf("%s is not in the archive: %+v", id, list)
	}
	patch, err := os.ReadFile(filepath.Join(list[at].Dir, "changes.patch"))
	if err != nil || !strings.Contains(string(patch), "+inside") || list[at].Changes != 1 || list[at].Partial != "" {
		t.Errorf("archive %+v, patch %s, %v", list[at], patch, err)
	}
	if _, err := os.Stat(filepath.Join(list[at].Dir, "journal.db")); err != nil {
		t.Errorf("the journal is not kept: %v", err)
	}
}

// testEmptyChanges brings out what was made in a workspace that began empty, and finds
// that a bound one has nothing to bring out.
func (s *suite) testEmptyChanges(t *testing.T) {
	i := s.create(t, provider.Spec{})
	s.sh(t, i.ID, "mkdir d; echo made >d/f")
	if _, err := s.p.Apply(Context(t), i.ID, provider.ApplyOptions{}); err == nil {
		t.Error("applied to no directory")
	}
	to := filepath.Join(TempDir(t), "out")
	if _, err := s.p.Apply(Context(t), i.ID, provider.ApplyOptions{Dir: to}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(to, "d", "f")); string(data) != "made\n" {
		t.Errorf("file %q, %v", data, err)
	}
	if n, err := s.p.Kept(Context(t), i.ID); n != 0 || err != nil {
		t.Errorf("%d changes are kept, %v", n, err)
	}
	bound := s.create(t, provider.Spec{Workspace: provider.Workspace{Dir: TempDir(t)}})
	if _, err := s.p.Diff(Context(t), bound.ID, provider.DiffOptions{}); !errors.Is(err, api.CodeUnsupportedSpec) {
		t.Errorf("diff of a bound workspace: %v", err)
	}
}

package settings

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// repository makes a git repository at a path and returns a function that
// commits files and returns the commit. A file with the content "-> x" is a
// symbolic link to x.
func repository(t *testing.T, path string) (commit func(files map[string]string, more ...string) string) {
	t.Helper()
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", path,
			"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v (git must be installed): %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "-b", "main")
	return func(files map[string]string, more ...string) string {
		for name, content := range files {
			write(t, filepath.Join(path, name), content)
		}
		git("add", "-A")
		git("commit", "-q", "--allow-empty", "-m", "change")
		if len(more) > 0 {
			git(more...)
		}
		return git("rev-parse", "HEAD")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func setSources(t *testing.T, s *Settings, dir string, sources ...api.SkillSource) {
	t.Helper()
	body, err := json.Marshal(api.SkillsConfig{Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Skills.Put(t.Context(), dir, "test", body); err != nil {
		t.Fatal(err)
	}
}

// wantTree compares the files below a folder, but for markers.
func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == markerFile {
			return err
		}
		if !d.Type().IsRegular() {
			t.Errorf("%s is no regular file", at)
		}
		data, err := os.ReadFile(at)
		rel, _ := filepath.Rel(dir, at)
		got[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is there, with %q", name, got[name])
		}
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s holds %q, want %q", name, got[name], content)
		}
	}
}

const agentDir = ".claude/skills"

func TestSkillsFromGit(t *testing.T) {
	hub := t.TempDir()
	commit := repository(t, filepath.Join(hub, "owner", "repo.git"))
	first := commit(map[string]string{"SKILL.md": "whole, v1"}, "tag", "v1")
	if err := os.Remove(filepath.Join(hub, "owner", "repo.git", "SKILL.md")); err != nil {
		t.Fatal(err)
	}
	commit(map[string]string{
		"skills/one/SKILL.md": "one", "skills/one/ref/a.md": "a", "skills/one/shared.md": "-> ../../shared.md",
		"skills/two/SKILL.md": "two", "more/three/SKILL.md": "three", "shared.md": "shared", "node_modules/x/SKILL.md": "no",
		"skills/none/README.md": "no skill",
	})
	address := "file://" + filepath.Join(hub, "owner", "repo.git")
	all := map[string]string{"one/SKILL.md": "one", "one/ref/a.md": "a", "one/shared.md": "shared", "two/SKILL.md": "two", "three/SKILL.md": "three"}
	some := func(names ...string) map[string]string {
		m := make(map[string]string)
		for k, v := range all {
			if top, _, _ := strings.Cut(k, "/"); slices.Contains(names, top) {
				m[k] = v
			}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		source api.SkillSource
		want   map[string]string
	}{
		{"all", api.SkillSource{Type: "git", Source: address}, all},
		{"github", api.SkillSource{Type: "github", Source: "owner/repo"}, all},
		{"path", api.SkillSource{Type: "git", Source: filepath.Join(hub, "owner", "repo.git")}, all},
		{"branch", api.SkillSource{Type: "git", Source: address, Ref: "main"}, all},
		{"subpath", api.SkillSource{Type: "git", Source: address, Subpath: "skills"}, some("one", "two")},
		{"subpath of one", api.SkillSource{Type: "git", Source: address, Subpath: "skills/two/"}, some("two")},
		{"names", api.SkillSource{Type: "git", Source: address, Skills: []string{"three", "skills/two"}}, some("two", "three")},
		{"tag", api.SkillSource{Type: "git", Source: address, Ref: "v1"}, map[string]string{"repo/SKILL.md": "whole, v1"}},
		{"commit", api.SkillSource{Type: "git", Source: address, Ref: first}, map[string]string{"repo/SKILL.md": "whole, v1"}},
		{"local", api.SkillSource{Type: "local", Source: filepath.Join(hub, "owner", "repo.git"), Subpath: "more"}, some("three")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, dir := newSettings(t, func(o *Options) { o.GitHub = "file://" + hub })
			setSources(t, s, dir, tt.source)
			targets := []string{agentDir, filepath.Join(dir, ".agents", "skills")}
			if err := s.InstallSkills(t.Context(), dir, targets); err != nil {
				t.Fatal(err)
			}
			wantTree(t, filepath.Join(dir, agentDir), tt.want)
			wantTree(t, targets[1], tt.want)
			left, err := os.ReadDir(filepath.Join(s.opts.Data, "skills"))
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range left {
				if strings.HasPrefix(entry.Name(), "stage-") {
					t.Errorf("%s is left", entry.Name())
				}
			}
		})
	}
}

func TestSkillsLife(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "r")
	commit := repository(t, repo)
	commit(map[string]string{"a/SKILL.md": "a1", "b/SKILL.md": "b1", "mine/SKILL.md": "theirs", "edited/SKILL.md": "e1"})
	s, dir := newSettings(t, func(o *Options) { o.Refresh = time.Nanosecond })
	target := filepath.Join(dir, agentDir)
	write(t, filepath.Join(target, "mine", "SKILL.md"), "mine")
	write(t, filepath.Join(target, stagePrefix+"1", "x"), "of a process that was killed")
	stale := filepath.Join(s.opts.Data, "skills", "stage-1")
	write(t, filepath.Join(stale, "x"), "of a process that was killed")
	old := time.Now().Add(-2 * staleStage)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	setSources(t, s, dir, api.SkillSource{Type: "git", Source: repo})
	install := func() error { return s.InstallSkills(t.Context(), dir, []string{agentDir}) }
	if err := install(); err != nil {
		t.Fatal(err)
	}
	wantTree(t, target, map[string]string{"a/SKILL.md": "a1", "b/SKILL.md": "b1", "mine/SKILL.md": "mine", "edited/SKILL.md": "e1"})

	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stale stage is left: %v", err)
	}

	// The source moves on; a skill that somebody changed meanwhile stays.
	write(t, filepath.Join(target, "edited", "SKILL.md"), "edited by hand")
	before, err := os.Stat(filepath.Join(target, "b"))
	if err != nil {
		t.Fatal(err)
	}
	commit(map[string]string{"a/SKILL.md": "a2", "c/SKILL.md": "c1", "edited/SKILL.md": "e2"})
	if err := install(); err != nil {
		t.Fatal(err)
	}
	now := map[string]string{"a/SKILL.md": "a2", "b/SKILL.md": "b1", "c/SKILL.md": "c1", "mine/SKILL.md": "mine", "edited/SKILL.md": "edited by hand"}
	wantTree(t, target, now)
	if after, err := os.Stat(filepath.Join(target, "b")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a skill that did not change was installed again: %v", err)
	}

	// The source is gone: its last copy serves.
	if err := os.Rename(repo, repo+".away"); err != nil {
		t.Fatal(err)
	}
	if err := install(); err != nil {
		t.Fatal(err)
	}
	wantTree(t, target, now)

	// A source that was never there takes nothing away from the others.
	setSources(t, s, dir, api.SkillSource{Type: "git", Source: repo, Skills: []string{"a"}}, api.SkillSource{Type: "git", Source: repo + ".never"})
	err = install()
	if problem, ok := errors.AsType[*api.Error](err); !ok || problem.Status != 502 || !strings.Contains(err.Error(), "sources[1]") {
		t.Errorf("got %v", err)
	}
	wantTree(t, target, now)

	// What the configuration no longer lists goes away.
	setSources(t, s, dir, api.SkillSource{Type: "git", Source: repo, Skills: []string{"a"}})
	if err := install(); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{"mine/SKILL.md": "mine", "edited/SKILL.md": "edited by hand"}
	wantTree(t, target, map[string]string{"a/SKILL.md": "a2", "mine/SKILL.md": "mine", "edited/SKILL.md": "edited by hand"})
	if err := s.Skills.Clear(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := install(); err != nil {
		t.Fatal(err)
	}
	wantTree(t, target, kept)
}

func TestSkillsWithoutConfigurationTouchNothing(t *testing.T) {
	s, dir := newSettings(t)
	if err := s.InstallSkills(t.Context(), dir, []string{agentDir, ".codex/skills"}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, s.opts.Data} {
		if left, _ := os.ReadDir(d); len(left) != 0 {
			t.Errorf("made %v", left)
		}
	}
}

// A local source may be the directory itself; what was installed from it is no
// source.
func TestSkillsOfTheDirectoryItself(t *testing.T) {
	s, dir := newSettings(t)
	write(t, filepath.Join(dir, "x", "SKILL.md"), "x1")
	setSources(t, s, dir, api.SkillSource{Type: "local", Source: "."})
	for _, content := range []string{"x1", "x2"} {
		write(t, filepath.Join(dir, "x", "SKILL.md"), content)
		if err := s.InstallSkills(t.Context(), dir, []string{agentDir}); err != nil {
			t.Fatal(err)
		}
		wantTree(t, filepath.Join(dir, agentDir), map[string]string{"x/SKILL.md": content})
	}
}

func TestSkillsCannotEscape(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	write(t, filepath.Join(filepath.Dir(secret), "SKILL.md"), "outside")
	repo := filepath.Join(t.TempDir(), "r")
	commit := repository(t, repo)
	commit(map[string]string{
		"file/SKILL.md": "f", "file/leak": "-> " + secret,
		"up/SKILL.md": "u", "up/leak": "-> ../../../../../../../../etc/hostname",
		"folder/SKILL.md": "d", "folder/leak": "-> " + filepath.Dir(secret),
		"loop/SKILL.md": "l", "loop/again": "-> .",
		"self/SKILL.md": "-> " + filepath.Join(filepath.Dir(secret), "SKILL.md"),
		"way":           "-> " + filepath.Dir(secret),
		"good/SKILL.md": "g",
	})
	for name, source := range map[string]api.SkillSource{
		"link to file":    {Type: "git", Source: repo, Skills: []string{"file"}},
		"link up":         {Type: "git", Source: repo, Skills: []string{"up"}},
		"link to folder":  {Type: "git", Source: repo, Skills: []string{"folder"}},
		"link to itself":  {Type: "git", Source: repo, Skills: []string{"loop"}},
		"linked skill":    {Type: "git", Source: repo, Skills: []string{"self"}},
		"subpath up":      {Type: "git", Source: repo, Subpath: "../r"},
		"subpath rooted":  {Type: "git", Source: repo, Subpath: filepath.Dir(secret)},
		"subpath by link": {Type: "git", Source: repo, Subpath: "way"},
		"skill name":      {Type: "git", Source: repo, Skills: []string{"../good"}},
		"program":         {Type: "git", Source: "ext::sh -c touch% " + secret + ".ran"},
		"option":          {Type: "git", Source: "--upload-pack=touch " + secret + ".ran"},
		"scp option":      {Type: "git", Source: "-oProxyCommand=x@h:p"},
		"ref option":      {Type: "git", Source: repo, Ref: "--upload-pack=touch " + secret + ".ran"},
		"ref mapping":     {Type: "git", Source: repo, Ref: "main:refs/heads/x"},
		"github up":       {Type: "github", Source: "../.."},
		"github dots":     {Type: "github", Source: "owner/.."},
		"github ssh":      {Type: "github", Source: "git@github.com:o/r"},
		"no type":         {Type: "svn", Source: "x"},
		"no source":       {Type: "git"},
		"no local source": {Type: "local"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newSettings(t, func(o *Options) { o.GitHub = "file://" + filepath.Dir(repo) })
			setSources(t, s, dir, source)
			err := s.InstallSkills(t.Context(), dir, []string{agentDir})
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
			wantTree(t, filepath.Join(dir, agentDir), nil)
			if _, err := os.Stat(secret + ".ran"); err == nil {
				t.Error("a program was run")
			}
		})
	}
	t.Run("others go on", func(t *testing.T) {
		s, dir := newSettings(t)
		setSources(t, s, dir, api.SkillSource{Type: "git", Source: repo})
		if err := s.InstallSkills(t.Context(), dir, []string{agentDir}); err == nil {
			t.Error("no error")
		}
		wantTree(t, filepath.Join(dir, agentDir), map[string]string{"good/SKILL.md": "g"})
	})
}

func TestSkillsAreBounded(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "r")
	commit := repository(t, repo)
	commit(map[string]string{"a/SKILL.md": strings.Repeat("0123456789", 1000), "a/b": "b", "a/c": "c"})
	fake := filepath.Join(t.TempDir(), "git")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\nsleep 1000 & sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		edit func(*Options)
		code api.Code
	}{
		"bytes":  {func(o *Options) { o.FetchBytes = 5000 }, api.CodeLimitExceeded},
		"files":  {func(o *Options) { o.SkillFiles = 2 }, api.CodeLimitExceeded},
		"time":   {func(o *Options) { o.Git, o.FetchTimeout = fake, time.Millisecond }, api.CodeTimeout},
		"no git": {func(o *Options) { o.Git = fake + ".none" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newSettings(t, tt.edit)
			setSources(t, s, dir, api.SkillSource{Type: "git", Source: repo})
			err := s.InstallSkills(t.Context(), dir, []string{agentDir})
			if err == nil || tt.code != "" && !errors.Is(err, tt.code) {
				t.Errorf("got %v", err)
			}
			wantTree(t, filepath.Join(dir, agentDir), nil)
		})
	}
}

// A password in an address is in no argument, no message and no file.
func TestSourcePasswordStaysSecret(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	fake := filepath.Join(t.TempDir(), "git")
	script := "#!/bin/sh\necho \"$@\" >>" + log + "\nfor a; do [ \"$a\" = fetch ] && { echo \"cannot reach $GIT_CONFIG_KEY_0\" >&2; exit 1; }; done; exit 0\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s, dir := newSettings(t, func(o *Options) { o.Git = fake })
	setSources(t, s, dir, api.SkillSource{Type: "git", Source: "https://me:hunter2@127.0.0.1:1/o/r"})
	err := s.InstallSkills(t.Context(), dir, []string{agentDir})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "url.https://xxxxx@127.0.0.1:1/o/r.insteadOf") {
		t.Errorf("got %v", err)
	}
	args, readErr := os.ReadFile(log)
	if readErr != nil || strings.Contains(string(args), "hunter2") || !strings.Contains(string(args), "-- https://127.0.0.1:1/o/r HEAD") {
		t.Errorf("arguments %s, %v", args, readErr)
	}
}

package run

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/provider"
)

// protectGit returns the names at the top of a bound workspace that are mounted
// read-only: .git, and what git follows from there. It can name programs, which git
// runs on the host as well. A workspace without a .git gets an empty directory, so
// that none can be made in the sandbox.
//
// A name at the top is a mount point, which cannot be moved away. Of what lies
// deeper the directory at the top is protected as a whole. The placeholder is the
// path of an empty .git, or empty.
func protectGit(work string) (names []string, placeholder string, err error) {
	real, err := filepath.EvalSymlinks(work)
	if err != nil {
		return nil, "", err
	}
	g := &gitPaths{work: real, names: []string{".git"}}
	git := filepath.Join(real, ".git")
	info, err := os.Lstat(git)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err := os.Mkdir(git, 0o755)
		if errors.Is(err, fs.ErrExist) { // another sandbox starts there
			err = nil
		}
		return g.names, git, err
	case err != nil:
		return nil, "", err
	case info.Mode().Type() == fs.ModeSymlink:
		return nil, "", provider.Unsupported("%s is a link, which cannot be protected; use workspace mode empty", git)
	case info.IsDir():
		if entries, err := os.ReadDir(git); err == nil && len(entries) == 0 {
			placeholder = git
		}
		return g.names, placeholder, g.follow(git)
	}
	named, ok := readPath(git, "gitdir:")
	if !ok {
		return g.names, "", nil
	}
	dir := join(real, named)
	if err := g.protect(dir); err != nil {
		return nil, "", err
	}
	return g.names, "", g.follow(dir)
}

// gitPaths are the names to protect in a workspace.
type gitPaths struct {
	work  string
	names []string
}

// follow protects what a git directory names: the common directory, included
// configuration, and hooks.
func (g *gitPaths) follow(dir string) error {
	common := dir
	if named, ok := readPath(filepath.Join(dir, "commondir"), ""); ok {
		common = join(dir, named)
		if err := g.protect(common); err != nil {
			return err
		}
	}
	for _, config := range []string{filepath.Join(common, "config"), filepath.Join(dir, "config.worktree")} {
		file, err := os.Open(config)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer file.Close()
		section := ""
		for lines := bufio.NewScanner(file); lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if strings.HasPrefix(line, "[") {
				section = strings.ToLower(strings.Trim(line, "[] \t"))
			}
			key, value, _ := strings.Cut(line, "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch key = strings.ToLower(strings.TrimSpace(key)); {
			case value == "":
			case key == "hookspath":
				err = g.protect(join(g.work, value))
			case key == "path" && strings.HasPrefix(section, "include"):
				err = g.protect(join(filepath.Dir(config), value))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// protect adds what lies in the workspace. What lies elsewhere is not in the sandbox
// at all.
func (g *gitPaths) protect(path string) error {
	below, err := filepath.Rel(g.work, path)
	if err != nil || !filepath.IsLocal(below) {
		return nil
	}
	if real, err := filepath.EvalSymlinks(path); err != nil || real != filepath.Clean(path) {
		return provider.Unsupported("git follows %s, which does not exist or leads over a link, and so cannot be protected; use workspace mode empty", path)
	}
	top, _, _ := strings.Cut(below, string(filepath.Separator))
	switch {
	case top == ".":
		return provider.Unsupported("git follows the workspace %s itself, which cannot be protected; use workspace mode empty", g.work)
	case !slices.Contains(g.names, top):
		g.names = append(g.names, top)
	}
	return nil
}

// readPath returns the path that a file of git holds after a prefix.
func readPath(name, prefix string) (string, bool) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", false
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(string(data)), prefix)
	return strings.TrimSpace(path), ok && strings.TrimSpace(path) != ""
}

// join is [filepath.Join] that leaves an absolute path alone.
func join(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

const (
	skillFile   = "SKILL.md"
	searchDepth = 6      // directories below a source where skills are looked for
	searchNames = 20_000 // entries of a source looked at for skills
)

// skill is a directory of a fetched source, copied aside so that nothing depends on
// the cache any more.
type skill struct {
	name   string
	source string // for people, without secrets
	staged string // absolute directory; its content is what gets installed
	digest string
}

// InstallSkills makes the directories of dir in which an agent looks for skills hold
// the skills configured for dir. Such a directory is absolute or relative to dir,
// like ".claude/skills". Directories that it did not make, or that were changed
// since, are left alone; those it made are removed when the configuration no
// longer lists them. The skills of a source that cannot be had stay as they
// are, and the error names every such source.
func (s *Settings) InstallSkills(ctx context.Context, dir string, agentSkillDirs []string) error {
	entries, err := s.Skills.All(dir)
	if err != nil {
		return err
	}
	return s.InstallEntries(ctx, dir, entries, agentSkillDirs)
}

// InstallEntries is InstallSkills for skills that are configured elsewhere; their
// relative sources are below dir.
func (s *Settings) InstallEntries(ctx context.Context, dir string, entries map[string]api.SkillsConfig, agentSkillDirs []string) error {
	dir = s.directory(dir)
	targets := make([]string, 0, len(agentSkillDirs))
	for _, target := range agentSkillDirs {
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		if _, err := os.Stat(target); err == nil || len(entries) > 0 {
			targets = append(targets, target)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	var skills []skill
	var failures []error
	if len(entries) > 0 {
		stage, err := s.stage()
		if err != nil {
			return err
		}
		defer os.RemoveAll(stage)
		skills, failures = s.collect(ctx, dir, stage, entries)
	}
	for _, target := range targets {
		if err := s.installInto(ctx, target, skills, failures == nil); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// staleStage is the age from which a stage is one of a process that was killed.
const staleStage = 24 * time.Hour

// stage makes a directory to collect skills in; the caller removes it.
func (s *Settings) stage() (string, error) {
	parent := filepath.Join(s.opts.Data, "skills")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", failed("create", parent, err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", failed("read", parent, err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), "stage-") && time.Since(info.ModTime()) > staleStage {
			os.RemoveAll(filepath.Join(parent, entry.Name()))
		}
	}
	stage, err := os.MkdirTemp(parent, "stage-")
	if err != nil {
		return "", failed("create", parent, err)
	}
	return stage, nil
}

// collect stages the skills of all entries. Of two skills with one name the
// first counts, in the order of entries and sources.
func (s *Settings) collect(ctx context.Context, dir, stage string, entries map[string]api.SkillsConfig) ([]skill, []error) {
	var skills []skill
	var failures []error
	count := 0
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		for i, source := range entries[entry].Sources {
			count++
			into := filepath.Join(stage, strconv.Itoa(count))
			found, err := s.fromSource(ctx, dir, into, source)
			if err != nil {
				failures = append(failures, fmt.Errorf("install skills %s: sources[%d]: %w", entry, i, err))
			}
			for _, one := range found {
				if slices.ContainsFunc(skills, func(other skill) bool { return other.name == one.name }) {
					s.opts.Log.Warn("skill comes from two sources, the first is used", "skill", one.name, "unused", one.source)
					continue
				}
				skills = append(skills, one)
			}
		}
	}
	return skills, failures
}

// fromSource stages the skills of one source below into.
func (s *Settings) fromSource(ctx context.Context, dir, into string, source api.SkillSource) ([]skill, error) {
	if source.Subpath != "" && !filepath.IsLocal(source.Subpath) {
		return nil, api.InvalidRequest("", "subpath %q leaves the source", source.Subpath)
	}
	tree, err := s.open(ctx, dir, source)
	if err != nil {
		return nil, err
	}
	defer tree.close()
	root, err := os.OpenRoot(tree.path)
	if err != nil {
		return nil, fmt.Errorf("open source %s: %w", tree.name, err)
	}
	defer root.Close()

	found, err := findSkills(ctx, root, tree, source.Subpath)
	if err != nil {
		return nil, err
	}
	chosen, err := choose(found, source, tree.name)
	if err != nil {
		return nil, err
	}
	var skills []skill
	var failures []error
	budget := copyBudget{files: s.opts.SkillFiles, bytes: s.opts.FetchBytes}
	for _, one := range chosen {
		staged := filepath.Join(into, one.name)
		c := copier{ctx: ctx, root: root, budget: budget}
		digest, err := c.copy(one.path, staged)
		if err != nil {
			failures = append(failures, fmt.Errorf("copy skill %s of %s: %w", one.name, tree.name, err))
			continue
		}
		skills = append(skills, skill{one.name, tree.name, staged, digest})
	}
	return skills, errors.Join(failures...)
}

// skillDir is a directory with a SKILL.md; path is relative to the source.
type skillDir struct{ name, path string }

// findSkills lists the skills at or below subpath, the first of each name. A
// skill contains no skills.
func findSkills(ctx context.Context, root *os.Root, tree source, subpath string) ([]skillDir, error) {
	start := path.Clean(filepath.ToSlash(subpath))
	if info, err := root.Stat(start); err != nil || !info.IsDir() {
		return nil, api.InvalidRequest(api.CodePathNotFound, "source %s has no directory %q", tree.name, subpath)
	}
	var found []skillDir
	looked := 0
	fsys := root.FS()
	err := fs.WalkDir(fsys, start, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if looked++; looked > searchNames {
			return api.InvalidRequest(api.CodeLimitExceeded, "source %s has more than %d directories; name a subpath", tree.name, searchNames)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		base := d.Name()
		if at != start && (base == ".git" || base == "node_modules") {
			return fs.SkipDir
		}
		info, err := fs.Stat(fsys, path.Join(at, skillFile))
		if err == nil && info.Mode().IsRegular() {
			if _, err := fs.Stat(fsys, path.Join(at, markerFile)); err == nil && tree.local {
				return fs.SkipDir // installed from here
			}
			name := path.Base(at)
			if at == "." {
				name = tree.base
			}
			known := slices.ContainsFunc(found, func(f skillDir) bool { return f.name == name })
			if !known && filepath.IsLocal(name) && name != "." {
				found = append(found, skillDir{name, at})
			}
			return fs.SkipDir
		}
		if at != start && strings.Count(strings.TrimPrefix(at, start), "/") >= searchDepth {
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// choose applies the list of wanted names. That something is missing is an
// error, for a skill nobody installs is not noticed otherwise.
func choose(all []skillDir, source api.SkillSource, name string) ([]skillDir, error) {
	if len(all) == 0 {
		return nil, api.InvalidRequest("", "source %s has no directory with a %s", name, skillFile)
	}
	if len(source.Skills) == 0 {
		return all, nil
	}
	var chosen []skillDir
	for _, want := range source.Skills {
		i := slices.IndexFunc(all, func(f skillDir) bool { return f.name == want || f.path == want })
		if i < 0 {
			var have []string
			for _, f := range all {
				have = append(have, f.name)
			}
			return nil, api.InvalidRequest("", "source %s has no skill %q; it has %s", name, want, strings.Join(have, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

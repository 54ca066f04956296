package settings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// markerFile marks a directory of a skill as ours.
const markerFile = ".sandbox-agent-skill.json"

// marker is the content of the marker file. A directory whose content has another
// digest was changed by a user or a program and is no longer ours.
type marker struct {
	Source string `json:"source"`
	Digest string `json:"digest"`
}

// installInto makes target hold skills. Only when the list is complete are the
// directories of other skills removed.
func (s *Settings) installInto(ctx context.Context, target string, skills []skill, complete bool) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return failed("create", target, err)
	}
	lock, err := filelock.AcquireDir(ctx, target)
	if err != nil {
		return failed("lock", target, err)
	}
	defer lock.Release()

	wanted := make(map[string]bool, len(skills))
	var failures []error
	for _, one := range skills {
		wanted[one.name] = true
		if err := s.place(filepath.Join(target, one.name), one); err != nil {
			failures = append(failures, err)
		}
	}
	entries, err := os.ReadDir(target)
	if err != nil {
		return errors.Join(append(failures, failed("read", target, err))...)
	}
	for _, entry := range entries {
		at := filepath.Join(target, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), stagePrefix): // of a process that was killed
			failures = append(failures, os.RemoveAll(at))
		case complete && !wanted[entry.Name()] && s.ours(at):
			failures = append(failures, discard(at))
		}
	}
	return errors.Join(failures...)
}

// stagePrefix starts the names of directories that are being written or removed.
const stagePrefix = ".sandbox-agent-new-"

// place puts one skill at a path, unless it is there or something else is.
func (s *Settings) place(at string, one skill) error {
	_, err := os.Lstat(at)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("look at", at, err)
	}
	if exists {
		if !s.ours(at) {
			s.opts.Log.Warn("skill is not installed: its directory was made or changed by another program; remove it to install the skill", "path", at)
			return nil
		}
		if had, err := readMarker(at); err == nil && had.Digest == one.digest {
			return nil
		}
	}
	fresh, err := os.MkdirTemp(filepath.Dir(at), stagePrefix)
	if err != nil {
		return failed("create skill", at, err)
	}
	defer os.RemoveAll(fresh)
	content := filepath.Join(fresh, "new")
	if err := os.CopyFS(content, os.DirFS(one.staged)); err != nil {
		return failed("write skill", at, err)
	}
	note, err := json.Marshal(marker{one.source, one.digest})
	if err != nil {
		return fmt.Errorf("encode skill marker: %w", err)
	}
	if err := os.WriteFile(filepath.Join(content, markerFile), append(note, '\n'), 0o644); err != nil {
		return failed("write skill", at, err)
	}
	if exists {
		if err := os.Rename(at, filepath.Join(fresh, "old")); err != nil {
			return failed("replace skill", at, err)
		}
	}
	if err := os.Rename(content, at); err != nil {
		return failed("install skill", at, err)
	}
	return nil
}

// discard removes a directory so that no half of it is ever seen under its name.
func discard(at string) error {
	gone, err := os.MkdirTemp(filepath.Dir(at), stagePrefix)
	if err != nil {
		return failed("remove skill", at, err)
	}
	defer os.RemoveAll(gone)
	if err := os.Rename(at, filepath.Join(gone, "old")); err != nil {
		return failed("remove skill", at, err)
	}
	return nil
}

// ours reports whether a path is a directory as we left it.
func (s *Settings) ours(at string) bool {
	if info, err := os.Lstat(at); err != nil || !info.IsDir() {
		return false
	}
	note, err := readMarker(at)
	if err != nil {
		return false
	}
	digest, err := digestOf(at, copyBudget{files: s.opts.SkillFiles + 1, bytes: s.opts.FetchBytes})
	return err == nil && digest == note.Digest
}

func readMarker(at string) (marker, error) {
	var m marker
	data, err := os.ReadFile(filepath.Join(at, markerFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

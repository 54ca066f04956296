package settings

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/git"
)

// source is an open source: a directory that stays as it is until close.
type source struct {
	path  string
	name  string // for people, without secrets
	base  string // the name of a skill at the top of it
	local bool   // may be the directory that skills are installed into
	close func()
}

var shorthand = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$`)

// open makes a source available as a directory. A source that was fetched before is
// used again while it is fresh, and also later if it cannot be fetched.
func (s *Settings) open(ctx context.Context, dir string, src api.SkillSource) (source, error) {
	switch src.Type {
	case "local":
		return openLocal(dir, src)
	case "github":
		address := src.Source
		if shorthand.MatchString(address) {
			address = strings.TrimSuffix(s.opts.GitHub, "/") + "/" + strings.TrimSuffix(address, ".git") + ".git"
		} else if !strings.HasPrefix(address, "https://") {
			return source{}, api.InvalidRequest("", `github source %q is neither "owner/repo" nor an https URL`, src.Source)
		}
		return s.openGit(ctx, address, src.Ref)
	case "git":
		return s.openGit(ctx, src.Source, src.Ref)
	}
	return source{}, api.InvalidRequest("", "source type %q is unknown, expected github, git or local", src.Type)
}

func openLocal(dir string, src api.SkillSource) (source, error) {
	at := src.Source
	if at == "" {
		return source{}, api.InvalidRequest("", "local source has no path")
	}
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		return source{}, api.InvalidRequest(api.CodePathNotFound, "local source %s is not a directory", at)
	}
	return source{path: at, name: at, base: filepath.Base(at), local: true, close: func() {}}, nil
}

// openGit fetches a repository into the cache, one directory for each address and
// ref, whose lock is held until the source is closed.
func (s *Settings) openGit(ctx context.Context, address, ref string) (source, error) {
	remote, err := git.ParseRemote(address)
	if err != nil {
		return source{}, err
	}
	if !git.ValidRef(ref) {
		return source{}, api.InvalidRequest("", "ref %q is not the name of a branch, tag or commit", ref)
	}
	key := sha256.Sum256([]byte(address + "\x00" + ref))
	home := filepath.Join(s.opts.Data, "skills", hex.EncodeToString(key[:12]))
	if err := os.MkdirAll(home, 0o700); err != nil {
		return source{}, failed("create", home, err)
	}
	lock, err := filelock.AcquireDir(ctx, home)
	if err != nil {
		return source{}, failed("lock", home, err)
	}
	src := source{path: filepath.Join(home, "tree"), name: remote.Name, base: remote.Base, close: func() { _ = lock.Release() }}
	info, err := os.Stat(src.path)
	cached := err == nil
	if cached && (git.IsCommit(ref) || time.Since(info.ModTime()) < s.opts.Refresh) {
		return src, nil
	}
	if err := s.fetch(ctx, home, remote, ref); err != nil {
		if cached && ctx.Err() == nil {
			now := time.Now() // the next try is for the next refresh, not for every session
			_ = os.Chtimes(src.path, now, now)
			s.opts.Log.Warn("skill source cannot be fetched, its last copy is used", "source", remote.Name, "error", err)
			return src, nil
		}
		src.close()
		return source{}, err
	}
	return src, nil
}

// fetch gets one commit without history and puts its files at home/tree.
func (s *Settings) fetch(ctx context.Context, home string, remote git.Remote, ref string) error {
	entries, err := os.ReadDir(home)
	if err != nil {
		return failed("read", home, err)
	}
	for _, entry := range entries { // of a process that was killed
		if strings.HasPrefix(entry.Name(), "fetch-") {
			os.RemoveAll(filepath.Join(home, entry.Name()))
		}
	}
	work, err := os.MkdirTemp(home, "fetch-")
	if err != nil {
		return failed("create", home, err)
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(ctx, s.opts.FetchTimeout)
	defer cancel()

	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return failed("create", tree, err)
	}
	err = s.git().Fetch(ctx, tree, remote, ref, s.opts.FetchBytes)
	if errors.Is(err, context.DeadlineExceeded) {
		return api.NewError(api.KindTimeout, "", "source %s was not fetched in %v", remote.Name, s.opts.FetchTimeout)
	}
	if _, ok := errors.AsType[*git.NotFoundError](err); ok {
		return fmt.Errorf("fetch source %s: %w; skills from github and git sources need git installed", remote.Name, err)
	}
	if err != nil {
		return fmt.Errorf("fetch source: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(tree, ".git")); err != nil {
		return failed("remove", tree, err)
	}
	now := time.Now()
	if err := os.Chtimes(tree, now, now); err != nil {
		return failed("stamp", tree, err)
	}
	place := filepath.Join(home, "tree")
	if err := os.Rename(place, filepath.Join(work, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("replace", place, err)
	}
	if err := os.Rename(tree, place); err != nil {
		return failed("replace", place, err)
	}
	return nil
}

func (s *Settings) git() git.Git {
	return git.Git{Program: s.opts.Git, Env: s.opts.Env, User: s.opts.User}
}

package settings

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// source is an open source: a folder that stays as it is until close.
type source struct {
	path  string
	name  string // for people, without secrets
	base  string // the name of a skill at the top of it
	local bool   // may be the directory that skills are installed into
	close func()
}

var shorthand = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$`)

// open makes a source available as a folder. A source that was fetched before is
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
		return source{}, api.InvalidRequest(api.CodePathNotFound, "local source %s is no folder", at)
	}
	return source{path: at, name: at, base: filepath.Base(at), local: true, close: func() {}}, nil
}

// openGit fetches a repository into the cache, one folder for each address and
// ref, whose lock is held until the source is closed.
func (s *Settings) openGit(ctx context.Context, address, ref string) (source, error) {
	remote, err := parseRemote(address)
	if err != nil {
		return source{}, err
	}
	if !validRef(ref) {
		return source{}, api.InvalidRequest("", "ref %q is no name of a branch, tag or commit", ref)
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
	src := source{path: filepath.Join(home, "tree"), name: remote.name, base: remote.base, close: func() { _ = lock.Release() }}
	info, err := os.Stat(src.path)
	cached := err == nil
	if cached && (isCommit(ref) || time.Since(info.ModTime()) < s.opts.Refresh) {
		return src, nil
	}
	if err := s.fetch(ctx, home, remote, ref); err != nil {
		if cached && ctx.Err() == nil {
			now := time.Now() // the next try is for the next refresh, not for every session
			_ = os.Chtimes(src.path, now, now)
			s.opts.Log.Warn("skill source cannot be fetched, its last copy is used", "source", remote.name, "error", err)
			return src, nil
		}
		src.close()
		return source{}, err
	}
	return src, nil
}

// fetch gets one commit without history and puts its files at home/tree.
func (s *Settings) fetch(ctx context.Context, home string, remote remote, ref string) error {
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
	if ref == "" {
		ref = "HEAD"
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--template="},
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", remote.address, ref},
		{"checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"},
	} {
		if err := s.git(ctx, tree, remote, args); err != nil {
			return err
		}
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

// safeGit keeps a fetched repository from running anything.
var safeGit = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never",
	"-c", "gc.auto=0", "-c", "maintenance.auto=false",
}

// git runs one git command in tree and watches how much it writes there.
func (s *Settings) git(ctx context.Context, tree string, remote remote, args []string) error {
	program := s.opts.Git
	if program == "" {
		program = "git"
	}
	proc, err := child.Start(child.Spec{
		Path: program, Args: append(append([]string(nil), safeGit...), args...),
		Dir: tree, Env: s.gitEnv(remote),
	})
	if err != nil {
		return fmt.Errorf("start git for source %s: %w; skills from github and git sources need git installed", remote.name, err)
	}
	var text []byte
	var output sync.WaitGroup
	output.Go(func() {
		_, _ = io.Copy(io.Discard, proc.Stdout)
		proc.Stdout.Close()
	})
	output.Go(func() {
		text, _ = io.ReadAll(io.LimitReader(proc.Stderr, 8<<10))
		_, _ = io.Copy(io.Discard, proc.Stderr)
		proc.Stderr.Close()
	})
	stopped := s.watch(ctx, proc, tree, remote)
	output.Wait()
	if stopped != nil {
		return stopped
	}
	if exit := proc.Exit(); exit.Code == nil || *exit.Code != 0 {
		return api.StreamError("", "git %s of source %s: %s", args[0], remote.name, remote.redact(strings.TrimSpace(string(text))))
	}
	return nil
}

// watch waits for a git command and ends it when time or space is used up.
func (s *Settings) watch(ctx context.Context, proc *child.Child, tree string, remote remote) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-proc.Done():
			return s.tooLarge(tree, remote)
		case <-ctx.Done():
			_ = proc.Stop(0)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return api.NewError(api.KindTimeout, "", "source %s was not fetched in %v", remote.name, s.opts.FetchTimeout)
			}
			return fmt.Errorf("fetch source %s: %w", remote.name, ctx.Err())
		case <-tick.C:
			if err := s.tooLarge(tree, remote); err != nil {
				_ = proc.Stop(0)
				return err
			}
		}
	}
}

func (s *Settings) tooLarge(tree string, remote remote) error {
	var total int64
	_ = filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // git removes files while this looks
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	if total > s.opts.FetchBytes {
		return api.InvalidRequest(api.CodeLimitExceeded, "source %s is larger than %d bytes", remote.name, s.opts.FetchBytes)
	}
	return nil
}

// gitEnv is the environment of git: it must not ask anybody, nor take another
// repository for its own. A password of the address is given here, where other
// users cannot see it as they see arguments.
func (s *Settings) gitEnv(remote remote) []string {
	env := []string{
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "GCM_INTERACTIVE=never",
		"GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_LFS_SKIP_SMUDGE=1", "GIT_SSH_COMMAND=ssh -oBatchMode=yes", "LC_ALL=C",
	}
	if remote.secret != "" {
		env = append(env, "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=url."+remote.secret+".insteadOf", "GIT_CONFIG_VALUE_0="+remote.address)
	}
	for _, kv := range s.opts.Env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "GIT_SSH_COMMAND":
			env = append(env, kv)
		case name == "SSH_ASKPASS" || name == "LC_ALL" || name == "GCM_INTERACTIVE":
		case !strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "GIT_SSL_") || strings.HasPrefix(name, "GIT_PROXY_"):
			env = append(env, kv)
		}
	}
	return env
}

// remote is the address of a repository.
type remote struct {
	address string // as given to git, without a password
	secret  string // the same with its password; empty when it has none
	name    string
	base    string
	words   []string // to be kept out of texts
}

// redact takes the password out of what git says.
func (r remote) redact(text string) string {
	for _, word := range r.words {
		text = strings.ReplaceAll(text, word, "xxxxx")
	}
	return text
}

var scpLike = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:]+$`)

// parseRemote accepts URLs of the usual schemes, user@host:path and absolute
// paths. Other forms would let git run a program of the address's choice.
func parseRemote(address string) (remote, error) {
	base := strings.TrimSuffix(path.Base(strings.TrimRight(address, "/")), ".git")
	if i := strings.LastIndexByte(base, ':'); i >= 0 {
		base = base[i+1:]
	}
	plain := remote{address: address, name: address, base: base}
	bad := api.InvalidRequest("", "git source is no https, http, ssh, git or file URL, no user@host:path and no absolute path")
	switch {
	case base == "" || base == "." || base == ".." || strings.ContainsAny(address, "\x00\n\r"):
		return remote{}, bad
	case filepath.IsAbs(address) || scpLike.MatchString(address):
		return plain, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return remote{}, bad
	}
	switch u.Scheme {
	case "https", "http", "ssh", "git":
		if u.Host == "" {
			return remote{}, bad
		}
	case "file":
		return plain, nil
	default:
		return remote{}, bad
	}
	if u.User == nil || u.Scheme == "ssh" {
		return plain, nil
	}
	clean := *u
	clean.User = nil
	r := remote{address: clean.String(), secret: address, name: clean.String(), base: base, words: []string{u.User.String()}}
	if word, ok := u.User.Password(); ok && word != "" {
		r.words = append(r.words, word)
	}
	return r, nil
}

// validRef keeps a ref from being read as an option or as a mapping of refs.
func validRef(ref string) bool {
	if strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "+") || strings.Contains(ref, "..") {
		return false
	}
	return !strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`:^~?*[\`, r) })
}

var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// isCommit reports whether a ref always means the same files.
func isCommit(ref string) bool { return fullCommit.MatchString(ref) }

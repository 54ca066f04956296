// Package git runs the git program for this server: it asks nobody for a password,
// shows no password to other processes, and reads no configuration, hook, or
// attribute that others than the user of this server can have written. It is not a
// client library of git, and what is fetched runs nothing.
package git

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

// Git is the git program of a machine. The zero value has an
// empty environment.
type Git struct {
	Program string   // its path; "git" in the PATH of Env when empty
	Env     []string // the environment, of which variables of git itself are left out

	User *user.User // who runs it; nil means the user of this program
}

// Command is one git command. Dir is required.
type Command struct {
	Args []string
	Dir  string // the work tree

	// GitDir is the directory of the repository; empty means .git in Dir. For a
	// work tree in which others write it lies elsewhere: git reads configuration
	// and hooks from it.
	GitDir string

	Remote Remote        // whose password git gets, and is kept out of errors
	Stdin  io.ReadCloser // nil is an empty input; Run closes it when git reads no more
	Stdout io.Writer     // nil discards the output

	// Plain is for what is to be the same for every user: git reads no
	// configuration but that of GitDir, neither of the system nor of the user.
	Plain bool

	// MaxBytes bounds what is in Dir while the command runs. Zero means without a bound.
	MaxBytes int64
}

// NotFoundError says that git cannot be started, since it is not installed for
// example.
type NotFoundError struct{ Err error }

func (e *NotFoundError) Error() string { return "start git: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NotFoundError) Unwrap() error { return e.Err }

// safe keeps a repository from running anything.
var safe = []string{
	"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null",
	"-c", "protocol.ext.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
}

// Run runs a command to its end. The command is killed when ctx ends, which is
// then part of the error, or when Dir grows over its bound, which has the code
// limit_exceeded. The error has what git says about a failure.
func (g Git) Run(ctx context.Context, cmd Command) error {
	program := g.Program
	if program == "" {
		program = "git"
	}
	proc, err := child.Start(child.Spec{
		Path: program, Args: append(append([]string(nil), safe...), cmd.Args...), Dir: cmd.Dir, Env: g.environ(cmd),
		Stdin: cmd.Stdin != nil, User: g.User,
	})
	if err != nil {
		return &NotFoundError{err}
	}
	var input sync.WaitGroup
	defer input.Wait()
	if cmd.Stdin != nil {
		input.Go(func() {
			_, _ = io.Copy(proc.Stdin, cmd.Stdin) // git that ends early says so by its exit code
			cmd.Stdin.Close()
			proc.Stdin.Close()
		})
	}
	var text []byte
	var failed error
	var output sync.WaitGroup
	output.Go(func() {
		if cmd.Stdout != nil {
			_, failed = io.Copy(cmd.Stdout, proc.Stdout)
		}
		_, _ = io.Copy(io.Discard, proc.Stdout)
		proc.Stdout.Close()
	})
	output.Go(func() {
		text, _ = io.ReadAll(io.LimitReader(proc.Stderr, 8<<10))
		_, _ = io.Copy(io.Discard, proc.Stderr)
		proc.Stderr.Close()
	})
	stopped := watch(ctx, proc, cmd)
	output.Wait()
	if stopped != nil {
		return stopped
	}
	if exit := proc.Exit(); exit.Code == nil || *exit.Code != 0 {
		return api.StreamError("", "git %s of %s: %s", cmd.Args[0], cmd.name(), cmd.Remote.Redact(strings.TrimSpace(string(text))))
	}
	if failed != nil {
		return fmt.Errorf("read output of git %s: %w", cmd.Args[0], failed)
	}
	return nil
}

func (c Command) name() string {
	if c.Remote.Name != "" {
		return c.Remote.Name
	}
	return c.Dir
}

// watch waits for a command and ends it when time or space is used up.
func watch(ctx context.Context, proc *child.Child, cmd Command) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-proc.Done():
			return cmd.tooLarge()
		case <-ctx.Done():
			_ = proc.Stop(0)
			return fmt.Errorf("git %s of %s: %w", cmd.Args[0], cmd.name(), ctx.Err())
		case <-tick.C:
			if err := cmd.tooLarge(); err != nil {
				_ = proc.Stop(0)
				return err
			}
		}
	}
}

func (c Command) tooLarge() error {
	if c.MaxBytes == 0 {
		return nil
	}
	var total int64
	_ = filepath.WalkDir(c.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // git removes files while this looks
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	if total > c.MaxBytes {
		return api.InvalidRequest(api.CodeLimitExceeded, "%s is larger than %d bytes", c.name(), c.MaxBytes)
	}
	return nil
}

// environ is the environment of git: it must not ask a user, nor take another
// repository for its own. A password of the address is given here, where other
// users cannot see it as they see arguments.
func (g Git) environ(cmd Command) []string {
	gitDir := cmd.GitDir
	if gitDir == "" {
		gitDir = filepath.Join(cmd.Dir, ".git")
	}
	env := []string{
		"GIT_DIR=" + gitDir, "GIT_WORK_TREE=" + cmd.Dir, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true", "GCM_INTERACTIVE=never",
		"GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_LFS_SKIP_SMUDGE=1", "GIT_SSH_COMMAND=ssh -oBatchMode=yes", "LC_ALL=C",
	}
	if cmd.Plain {
		env = append(env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	}
	if cmd.Remote.secret != "" {
		env = append(env, "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=url."+cmd.Remote.secret+".insteadOf", "GIT_CONFIG_VALUE_0="+cmd.Remote.address)
	}
	for _, kv := range g.Env {
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

// Fetch makes the empty directory tree a checkout of one commit of a remote,
// without history and without a repository. An empty ref is its default branch.
// See [Git.Run] about errors and maxBytes.
func (g Git) Fetch(ctx context.Context, tree string, remote Remote, ref string, maxBytes int64) error {
	if ref == "" {
		ref = "HEAD"
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--template="},
		{"fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", remote.address, ref},
		{"checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"},
	} {
		if err := g.Run(ctx, Command{Args: args, Dir: tree, Remote: remote, MaxBytes: maxBytes}); err != nil {
			return err
		}
	}
	return nil
}

package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/provider"
)

// A Command is what a shim is asked over its control socket.
type Command string

// The commands of a shim. Kill and destroy end it.
const (
	Pause   Command = "pause"
	Resume  Command = "resume"
	Restart Command = "restart"
	Kill    Command = "kill"
	Destroy Command = "destroy"
	Keys    Command = "keys" // take the model keys of the user
)

// A Request is what a client sends over the control socket, one for each connection,
// as a line of JSON. The shim answers with a [Reply] when it is done.
type Request struct {
	Command Command `json:"command"`
	User    *User   `json:"user,omitempty"` // with [Keys]
}

// A Reply is the answer of a shim.
type Reply struct {
	Error    *api.Error `json:"error,omitempty"`
	Warnings []string   `json:"warnings,omitempty"` // of [Keys]
}

// errNoShim says that nobody answers for a sandbox.
var errNoShim = errors.New("the sandbox has no shim")

// ask sends a command to the shim of a sandbox.
func ask(ctx context.Context, dir Dir, command Command) error {
	_, err := exchange(ctx, dir, Request{Command: command})
	return err
}

// exchange sends a request to the shim of a sandbox and returns its reply.
func exchange(ctx context.Context, dir Dir, request Request) (Reply, error) {
	conn, err := Dial(ctx, "unix", dir.Control())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return Reply{}, errNoShim
	}
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return Reply{}, err
	}
	var reply Reply
	err = json.NewDecoder(conn).Decode(&reply)
	switch {
	case ctx.Err() != nil:
		return Reply{}, context.Cause(ctx)
	case err != nil: // the shim has ended
		return Reply{}, errNoShim
	case reply.Error != nil:
		return Reply{}, reply.Error
	}
	return reply, nil
}

// Pause stops everything in a sandbox where it is.
func (s *Store) Pause(ctx context.Context, id string) error { return s.command(ctx, id, Pause) }

// Resume lets a paused sandbox go on.
func (s *Store) Resume(ctx context.Context, id string) error { return s.command(ctx, id, Resume) }

// SetKeys hands the model keys of the user of this process to a sandbox, in place of
// those that it has, and returns what the user has to know.
func (s *Store) SetKeys(ctx context.Context, id string) (warnings []string, err error) {
	user := s.user()
	reply, err := s.request(ctx, id, Request{Command: Keys, User: &user})
	return reply.Warnings, err
}

// command is for what needs a sandbox that runs.
func (s *Store) command(ctx context.Context, id string, command Command) error {
	_, err := s.request(ctx, id, Request{Command: command})
	return err
}

func (s *Store) request(ctx context.Context, id string, request Request) (Reply, error) {
	dir, _, err := s.Find(id)
	if err != nil {
		return Reply{}, err
	}
	reply, err := exchange(ctx, dir, request)
	if !errors.Is(err, errNoShim) {
		return reply, wrap(request.Command, id, err)
	}
	i, err := s.Get(ctx, id)
	if err != nil {
		return Reply{}, err
	}
	return Reply{}, api.Conflict(api.CodeSandboxNotRunning, "%s sandbox %s: it is %s; restart it", request.Command, id, i.State)
}

func wrap(command Command, id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s sandbox %s: %w", command, id, err)
}

// reach has the shim carry a command out, or returns the lock of a sandbox that has
// no shim, which the caller releases.
func reach(ctx context.Context, dir Dir, command Command) (*filelock.Lock, error) {
	deadline := time.Now().Add(endWait)
	for {
		err := ask(ctx, dir, command)
		if !errors.Is(err, errNoShim) {
			return nil, err
		}
		lock, err := filelock.Try(dir.Lock()) // which waits for a moment
		if !errors.Is(err, filelock.ErrHeld) {
			return lock, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if time.Now().After(deadline) {
			status, _ := dir.ReadStatus() // without it the process is 0
			return nil, fmt.Errorf("its shim, process %d, lives and does not take commands: another version of sandbox-agent may have started it; use that one, or end the process", status.ShimPID)
		}
	}
}

// endWait bounds the wait for a shim that is ending. It is longer than what a server
// has to end by itself.
const endWait = 30 * time.Second

// Kill ends everything in a sandbox at once.
func (s *Store) Kill(ctx context.Context, id string) error {
	dir, _, err := s.Find(id)
	if err != nil {
		return err
	}
	lock, err := reach(ctx, dir, Kill)
	if err == nil && lock == nil { // the shim ends
		lock, err = filelock.Acquire(ctx, dir.Lock(), nil)
	}
	if err != nil {
		return wrap(Kill, id, err)
	}
	defer lock.Release()
	if status, err := dir.ReadStatus(); err == nil {
		sweep(status)
	}
	return nil
}

// Restart ends everything in a sandbox and starts its server again.
func (s *Store) Restart(ctx context.Context, id string) error {
	dir, record, err := s.Find(id)
	if err != nil {
		return err
	}
	lock, err := reach(ctx, dir, Restart)
	if err != nil || lock == nil {
		return wrap(Restart, id, err)
	}
	defer lock.Release()
	status, err := dir.ReadStatus()
	if err != nil || !status.Born {
		return api.NotFound("sandbox", id)
	}
	sweep(status)
	_, err = s.startShim(ctx, dir, lock, record.Spec.Bound)
	return wrap(Restart, id, err)
}

// Destroy ends everything in a sandbox and removes its directory.
func (s *Store) Destroy(ctx context.Context, id string) error {
	dir, _, err := s.Find(id)
	if err != nil {
		return err
	}
	lock, err := reach(ctx, dir, Destroy)
	if err == nil && lock == nil { // the shim ends
		lock, err = filelock.Acquire(ctx, dir.Lock(), nil)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process was faster
	}
	if err != nil {
		return wrap(Destroy, id, err)
	}
	defer lock.Release()
	s.release(id)
	return wrap(Destroy, id, Discard(dir))
}

// Discard removes what a sandbox left that has no shim. The caller holds the lock,
// or is the one who made the directory.
func Discard(dir Dir) error {
	if status, err := dir.ReadStatus(); err == nil {
		sweep(status)
	}
	unprotect(dir)
	// First out of the list, in one step.
	gone := filepath.Join(filepath.Dir(string(dir)), ".removed-"+dir.ID())
	if err := os.Rename(string(dir), gone); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return removeTree(gone)
}

// unprotect removes the empty directory that kept a bound workspace from getting a
// .git, unless another sandbox has it as well: removing a mount point takes the mount
// away in every namespace.
func unprotect(dir Dir) {
	status, err := dir.ReadStatus()
	if err != nil || status.Placeholder == "" {
		return
	}
	others, err := filepath.Glob(filepath.Join(filepath.Dir(string(dir)), "*", "status.json"))
	if err != nil {
		return
	}
	for _, name := range others {
		other := Dir(filepath.Dir(name))
		if has, err := other.ReadStatus(); other != dir && (err != nil || has.Placeholder == status.Placeholder) {
			return
		}
	}
	_ = syscall.Rmdir(status.Placeholder) // which leaves a file and a directory that is not empty
}

// removeTree is os.RemoveAll that gets into directories which their owner has
// closed.
func removeTree(root string) error {
	err := os.RemoveAll(root)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(root)
}

// Prune ends what is left of sandboxes that have lost their shim, and removes the
// creations that their creator did not live to see through.
func (s *Store) Prune(ctx context.Context) (provider.Pruned, error) {
	pruned := provider.Pruned{Failed: []string{}, Removed: []string{}}
	dirs, err := s.dirs()
	if err != nil {
		return pruned, err
	}
	var failed []error
	for _, dir := range dirs {
		if err := s.prune(dir, &pruned); err != nil {
			failed = append(failed, fmt.Errorf("prune %s: %w", dir.ID(), err))
		}
	}
	entries, err := os.ReadDir(s.root())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".removed-") {
			err = errors.Join(err, removeTree(filepath.Join(s.root(), entry.Name())))
		}
	}
	return pruned, errors.Join(append(failed, err)...)
}

func (s *Store) prune(dir Dir, pruned *provider.Pruned) error {
	lock, err := filelock.Try(dir.Lock())
	if errors.Is(err, filelock.ErrHeld) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	status, err := dir.ReadStatus()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if status.Born {
		sweep(status)
		after := withoutShim(status)
		if after.State == status.State {
			return nil
		}
		pruned.Failed = append(pruned.Failed, dir.ID())
		return dir.WriteStatus(after)
	}
	pruned.Removed = append(pruned.Removed, dir.ID())
	return Discard(dir)
}

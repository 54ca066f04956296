package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child/reaper"
	"github.com/sandboxagent/sandboxagent/internal/child/tree"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// daemonFiles are the files of the daemon of one host and port.
type daemonFiles struct {
	dir, pid, log, version string
}

func daemonFilesOf(data, host string, port uint16) daemonFiles {
	plain := func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}
	dir := filepath.Join(data, "daemon")
	stem := filepath.Join(dir, fmt.Sprintf("daemon-%s-%d", strings.Map(plain, host), port))
	return daemonFiles{dir: dir, pid: stem + ".pid", log: stem + ".log", version: stem + ".version"}
}

// The parts of the pid file that are locked. The locks are those of fcntl, which
// tell who holds them and end with the process.
const (
	lockLife   filelock.Part = 0 // held by the daemon while it lives
	lockChange filelock.Part = 1 // held by the process that makes or removes the files
)

// errHeld says that a daemon lives.
var errHeld = errors.New("another daemon holds the PID file")

// hold makes this process the daemon: it locks the pid file, and writes the pid
// and the build. Release removes the files and ends the lock, as the end of the
// process does too.
func (f daemonFiles) hold(build string) (release func() error, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	file, err := f.change(os.O_CREATE)
	if err != nil {
		return nil, err
	}
	take := func() error {
		if err := lockLife.Lock(file, false); err != nil {
			return errHeld
		}
		if err := file.Truncate(0); err != nil {
			return err
		}
		if _, err := file.WriteAt([]byte(strconv.Itoa(reaper.PID())), 0); err != nil {
			return err
		}
		if err := os.WriteFile(f.version, []byte(build), 0o600); err != nil {
			return err
		}
		return lockChange.Unlock(file)
	}
	if err := take(); err != nil {
		return nil, errors.Join(fmt.Errorf("hold pid file: %w", err), file.Close())
	}
	return func() error {
		err := lockChange.Lock(file, true)
		return errors.Join(err, f.remove(), file.Close())
	}, nil
}

// change opens the pid file and takes the lock to change it. Another command may have
// removed the file in between, and then the lock is on nothing: it tries again.
func (f daemonFiles) change(create int) (*os.File, error) {
	for {
		file, err := os.OpenFile(f.pid, os.O_RDWR|create, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open pid file: %w", err)
		}
		if err := lockChange.Lock(file, true); err != nil {
			return nil, errors.Join(fmt.Errorf("lock pid file: %w", err), file.Close())
		}
		held, err := file.Stat()
		if err == nil {
			if there, err := os.Stat(f.pid); err == nil && os.SameFile(held, there) {
				return file, nil
			}
		}
		file.Close()
	}
}

// owner returns the daemon that lives: the process to signal. The kernel tells who
// holds the lock, and the file the parent of that process, if it has one; what a
// daemon has written that is gone may be the id of any process by now.
func (f daemonFiles) owner() (pid int, running bool) {
	file, err := os.OpenFile(f.pid, os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer file.Close()
	pid, running = lockLife.Owner(file)
	if !running {
		return 0, false
	}
	var text [20]byte
	n, _ := file.ReadAt(text[:], 0) // the file is shorter
	written, err := strconv.Atoi(string(text[:n]))
	if holder, ok := tree.Find(pid); err == nil && ok && holder.Parent == written {
		return written, true
	}
	return pid, true
}

// build returns the build of the daemon, or nothing if that is not known.
func (f daemonFiles) build() string {
	data, err := os.ReadFile(f.version)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// end asks the daemon to end, waits for the grace period, and kills it.
func (f daemonFiles) end(ctx context.Context, pid int, grace time.Duration) (killed bool, err error) {
	daemon, err := os.FindProcess(pid)
	if err != nil {
		return false, fmt.Errorf("find daemon: %w", err)
	}
	defer daemon.Release()
	// The handle is that of the daemon if the daemon lives now that there is one.
	if now, running := f.owner(); !running || now != pid {
		return false, nil
	}
	if err := daemon.Signal(syscall.SIGTERM); err != nil {
		return false, fmt.Errorf("stop daemon: %w", err)
	}
	if err := f.gone(ctx, grace); err == nil || ctx.Err() != nil {
		return false, err
	}
	if err := daemon.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, fmt.Errorf("kill daemon: %w", err)
	}
	return true, f.gone(ctx, askTimeout)
}

// gone waits until nobody holds the lock.
func (f daemonFiles) gone(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if _, running := f.owner(); !running {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for daemon: %w", ctx.Err())
		case <-time.After(daemonPoll):
		}
	}
}

// removeStale removes the files of a daemon that is gone.
func (f daemonFiles) removeStale() error {
	file, err := f.change(0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, running := lockLife.Owner(file); !running {
		err = f.remove()
	}
	return errors.Join(err, file.Close())
}

// remove requires the lock to change the files.
func (f daemonFiles) remove() error {
	for _, name := range []string{f.pid, f.version} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove daemon file: %w", err)
		}
	}
	return nil
}

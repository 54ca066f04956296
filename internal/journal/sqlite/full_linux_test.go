package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// fullEnv makes the test binary run on a small disk that gets full.
const fullEnv = "JOURNAL_TEST_FULL"

func TestDiskFull(t *testing.T) {
	for _, do := range []string{"fill", "kill"} {
		t.Run(do, func(t *testing.T) { onSmallDisk(t, do) })
	}
}

func onSmallDisk(t *testing.T, do string) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), fullEnv+"="+t.TempDir(), fullEnv+"_DO="+do)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fullDisk does something on a disk of 8 MiB at dir.
func fullDisk(do, dir string) error {
	if do == "victim" {
		return showOnFullDisk(dir)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		return fmt.Errorf("mount small disk: %w", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	if do == "kill" {
		return killOnFullDisk(dir)
	}
	return fillDisk(dir)
}

// fillDisk goes on with a journal while its disk is full, twice, and looks for
// all of it after there was room again.
func fillDisk(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path := filepath.Join(dir, "journal.db")
	store, err := Open(path)
	if err != nil {
		return err
	}
	j, err := journal.Open(store, journal.Options{RetryDelay: 5 * time.Millisecond, WindowBytes: 1})
	if err != nil {
		return err
	}
	var last uint64
	for range 2 {
		if last, err = through(ctx, j, store, dir, last); err != nil {
			return err
		}
	}
	if err := j.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if store, err = Open(path); err != nil {
		return err
	}
	var verdict string
	if err := store.conn.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("integrity: %s, %w", verdict, err)
	}
	if j, err = journal.Open(store, journal.Options{}); err != nil {
		return err
	}
	return errors.Join(journaltest.Follow(ctx, j, "a", 0, last, 0), j.Close())
}

// through fills the disk, appends, makes room and waits until all is stored.
func through(ctx context.Context, j *journal.Journal, store *Store, dir string, last uint64) (uint64, error) {
	appendSome := func(n int) (err error) {
		for range n {
			if last, err = j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", last+1)); err != nil {
				return fmt.Errorf("append on a full disk: %w", err)
			}
		}
		return nil
	}
	if err := appendSome(500); err != nil {
		return last, err
	}
	if err := errors.Join(j.Wait(ctx, "a", last), j.PutRecord(ctx, "k", "id", []byte("data"))); err != nil {
		return last, fmt.Errorf("before the disk is full: %w", err)
	}
	// What is in the tail now would make room when it goes to SQLite.
	if err := store.flush(false); err != nil {
		return last, fmt.Errorf("before the disk is full: %w", err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return last, fmt.Errorf("the disk is not full: %w", err)
	}
	// SQLite's log has room that was taken before.
	for j.Health() == nil {
		if err := ctx.Err(); err != nil {
			return last, fmt.Errorf("nobody noticed the full disk: %w", err)
		}
		if err := appendSome(500); err != nil {
			return last, err
		}
		_ = j.Wait(ctx, "a", last) // fails sooner or later, that is the point
	}
	if err := appendSome(5000); err != nil {
		return last, err
	}
	if err := j.Wait(ctx, "a", last); !errors.Is(err, api.CodeStorageFailed) {
		return last, fmt.Errorf("wait on a full disk: %w", err)
	}
	if err := j.PutRecord(ctx, "k", "id", make([]byte, 1<<20)); !errors.Is(err, api.CodeStorageFailed) {
		return last, fmt.Errorf("put on a full disk: %w", err)
	}
	if data, err := j.GetRecord(ctx, "k", "id"); err != nil || string(data) != "data" {
		return last, fmt.Errorf("get on a full disk: %q, %w", data, err)
	}
	if err := journaltest.Follow(ctx, j, "a", 0, last, 0); err != nil {
		return last, fmt.Errorf("read on a full disk: %w", err)
	}
	if err := j.Trim(ctx); err != nil {
		return last, fmt.Errorf("trim on a full disk: %w", err)
	}
	if err := os.Remove(filler); err != nil {
		return last, err
	}
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for j.Wait(ctx, "a", last) != nil {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("not stored although there is room: %w", j.Health())
		case <-again.C:
		}
	}
	return last, j.Health()
}

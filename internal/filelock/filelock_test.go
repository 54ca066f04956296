//go:build unix

package filelock

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// holderVar makes the test binary a program that takes a lock, reports it, and
// holds it until its standard input ends.
const holderVar = "FILELOCK_TEST_HOLD"

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(holderVar), ":"); ok {
		if err := hold(what, path); err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func hold(what, path string) error {
	switch what {
	case "file":
		lock, err := Try(path)
		if err != nil {
			return err
		}
		defer lock.Release()
	case "part":
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := Part(3).Lock(file, false); err != nil {
			return err
		}
	}
	os.Stdout.WriteString("held\n")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// startHolder starts a process that holds a lock.
func startHolder(t *testing.T, what, path string) (cmd *exec.Cmd, release func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVar+"="+what+":"+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(release)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatalf("holder printed %q, %v", line, err)
	}
	return cmd, release
}

func TestHeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	_, release := startHolder(t, "file", path)
	if _, err := Try(path); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), path) {
		t.Errorf("Try of a held lock: %v", err)
	}
	if !Held(path) {
		t.Error("Held is false")
	}
	waiting := make(chan struct{})
	go func() {
		<-waiting
		release()
	}()
	lock, err := Acquire(t.Context(), path, func() { close(waiting) })
	if err != nil {
		t.Fatal(err)
	}
	if !Held(path) {
		t.Error("Held is false for a lock of this process")
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if Held(path) {
		t.Error("Held is true after Release")
	}
}

func TestKilledHolderReleases(t *testing.T) {
	for _, what := range []string{"file", "part"} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			holder, _ := startHolder(t, what, path)
			if err := holder.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = holder.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if what == "file" {
				lock, err := Acquire(ctx, path, nil)
				if err != nil {
					t.Fatal(err)
				}
				lock.Release()
				return
			}
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := Part(3).Lock(file, true); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A child that outlives the holder does not hold its lock.
func TestChildrenDoNotInherit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	startHolder(t, "file", path+".other")
	lock.Release()
	again, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

func TestGoroutinesExcludeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, most atomic.Int32
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 5 {
				lock, err := Acquire(t.Context(), path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > 1 {
					most.Store(n)
				}
				inside.Add(-1)
				lock.Release()
			}
		})
	}
	wait.Wait()
	if n := most.Load(); n > 1 {
		t.Errorf("%d holders at once", n)
	}
}

// Asking whether a lock is held never makes a taker fail.
func TestHeldDoesNotDisturb(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			Held(path)
		}
	})
	for range 50 {
		lock, err := Try(path)
		if err != nil {
			t.Error(err)
			break
		}
		lock.Release()
	}
	cancel()
	wait.Wait()
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Acquire(ctx, path, cancel)
	if !errors.Is(err, ErrHeld) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v matches not both ErrHeld and Canceled", err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := AcquireDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AcquireDir(ctx, dir); !errors.Is(err, ErrHeld) {
		t.Errorf("second lock: %v", err)
	}
	lock.Release()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the lock left %v, %v", entries, err)
	}
	if _, err := AcquireDir(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "none", "lock"), dir} {
		if _, err := Try(path); err == nil || errors.Is(err, ErrHeld) {
			t.Errorf("Try(%s): %v", path, err)
		}
	}
	path := filepath.Join(dir, "lock")
	lock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.File().WriteString("pid 1\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(lock.Release(), lock.Release()); err != nil {
		t.Errorf("two releases: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 6 {
		t.Errorf("lock file: %v, %v", info, err)
	}
	if Held(filepath.Join(dir, "none")) {
		t.Error("Held is true for a file that does not exist")
	}
}

func TestPartNamesItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder, release := startHolder(t, "part", path)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if pid, held := Part(3).Owner(file); !held || pid != holder.Process.Pid {
		t.Errorf("owner %d, %v; want %d", pid, held, holder.Process.Pid)
	}
	if err := Part(3).Lock(file, false); !errors.Is(err, ErrHeld) {
		t.Errorf("lock of a held part: %v", err)
	}
	if _, held := Part(4).Owner(file); held {
		t.Error("another part is held as well")
	}
	release()
	if err := Part(3).Lock(file, true); err != nil {
		t.Fatal(err)
	}
	if err := Part(3).Unlock(file); err != nil {
		t.Fatal(err)
	}
}

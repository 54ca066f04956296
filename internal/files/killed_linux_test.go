package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// killable is an operation that is killed at each of its steps. It works in the
// folder tree, and in far, which may be another filesystem.
type killable struct {
	prepare func(dir string) error
	do      func(ctx context.Context, f *FS) error
}

var killables = map[string]killable{
	"write new": {
		func(string) error { return nil },
		func(ctx context.Context, f *FS) error {
			_, err := f.Write(ctx, "tree/a/b/new", strings.NewReader(longBody), WriteOptions{})
			return err
		},
	},
	"write old": {
		func(dir string) error { return putAll(dir, "tree/old") },
		func(ctx context.Context, f *FS) error {
			_, err := f.Write(ctx, "tree/old", strings.NewReader(longBody), WriteOptions{})
			return err
		},
	},
	"batch": {
		func(dir string) error { return putAll(dir, "tree/one", "tree/sub/two") },
		func(ctx context.Context, f *FS) error {
			_, err := f.Batch(ctx, api.FileBatchRequest{Files: []api.FileBatchItem{
				{Path: "tree/one", Content: "1"}, {Path: "tree/new/three", Content: "3"}, {Path: "tree/sub/two", Content: "2"},
			}})
			return err
		},
	},
	"upload": {
		func(dir string) error {
			return errors.Join(putAll(dir, "tree/in/one", "tree/in/sub/two", "tree/in/sub/kept"), os.Symlink("one", dir+"/tree/in/link"))
		},
		func(ctx context.Context, f *FS) error {
			_, err := f.Upload(ctx, "tree/in", bytes.NewReader(tarball(
				entry{name: "one", body: "1"}, entry{name: "link", body: "2"}, entry{name: "sub/two", body: "3"},
				entry{name: "sub/new/four", body: "4"}, entry{name: "shut/in", typ: '5', mode: 0o555}, entry{name: "shut/in/five", body: "5"},
				entry{name: "shut", typ: '5', mode: 0o555}, entry{name: "hard", typ: '1', link: "one"},
			)))
			return err
		},
	},
	"upload new": {
		func(string) error { return nil },
		func(ctx context.Context, f *FS) error {
			_, err := f.Upload(ctx, "tree/a/b", bytes.NewReader(tarball(entry{name: "c/one", body: "1"})))
			return err
		},
	},
	"move": {
		func(dir string) error { return putAll(dir, "tree/from/one") },
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "tree/a/b/to") },
	},
	"move over": {
		func(dir string) error { return putAll(dir, "tree/from/one", "tree/sub/to/two") },
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "tree/sub/to") },
	},
	"move over file": {
		func(dir string) error { return putAll(dir, "tree/from/one", "tree/to") },
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "tree/to") },
	},
	// Whoever is not root cannot swap this one.
	"move over read-only": {
		func(dir string) error {
			return errors.Join(putAll(dir, "tree/from/one", "tree/sub/to/two/three"),
				os.Chmod(dir+"/tree/sub/to/two", 0o555), os.Chmod(dir+"/tree/sub/to", 0o555))
		},
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "tree/sub/to") },
	},
	"move across": {
		func(dir string) error {
			return errors.Join(putAll(dir, "tree/from/one", "tree/from/sub/two"), os.Chmod(dir+"/tree/from/sub", 0o555))
		},
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "far/a/to") },
	},
	"move across over": {
		func(dir string) error { return putAll(dir, "tree/from/one", "far/to/two") },
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "far/to") },
	},
	"move across over file": {
		func(dir string) error { return putAll(dir, "tree/from", "far/to") },
		func(ctx context.Context, f *FS) error { return moveOver(ctx, f, "tree/from", "far/to") },
	},
}

// alwaysThere are names that an operation never takes away.
var alwaysThere = map[string]string{
	"write old": "tree/old", "batch": "tree/one", "upload": "tree/in/one", "move over": "tree/sub/to",
	"move over file": "tree/to", "move across over": "far/to", "move across over file": "far/to",
}

var longBody = strings.Repeat("x", bufferSize+1)

func putAll(dir string, names ...string) (err error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("old "+name), 0o644))
	}
	return err
}

func moveOver(ctx context.Context, f *FS, from, to string) error {
	_, err := f.Move(ctx, from, to, true)
	return err
}

// TestKilled kills every operation before each of its system calls that changes
// a file, recovers, and finds the files as before or as after.
func TestKilled(t *testing.T) {
	for name := range killables {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "across") {
				runScenario(t, "killed "+name, t.TempDir(), ownMounts())
			} else if err := killEverywhere(name, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

func killEverywhere(name, dir string) error {
	op := killables[name]
	var before, after string
	for _, state := range []*string{&before, &after} {
		if err := errors.Join(emptyOut(dir), op.prepare(dir)); err != nil {
			return err
		}
		if state == &after {
			if _, err := runKilled(dir, "do "+name, 0); err != nil {
				return err
			}
		}
		*state = snapshot(dir)
	}
	for n := 1; ; n++ {
		if err := errors.Join(emptyOut(dir), op.prepare(dir)); err != nil {
			return err
		}
		killed, err := runKilled(dir, "do "+name, n)
		if err != nil {
			return err
		}
		if !killed {
			if n < 5 {
				return fmt.Errorf("killed at %d system calls only", n-1)
			}
			return emptyOut(dir)
		}
		_, err = os.Lstat(filepath.Join(dir, alwaysThere[name]))
		if err := errors.Join(err, tearNotes(dir)); err != nil {
			return fmt.Errorf("killed at %d: %w", n, err)
		}
		if n%3 == 0 { // recovering is killed as well
			if _, err := runKilled(dir, "recover", n%10+1); err != nil {
				return err
			}
		}
		if err := newKillable(dir).Recover(); err != nil {
			return fmt.Errorf("recover from %d: %w", n, err)
		}
		if got := snapshot(dir); got != before && got != after {
			return fmt.Errorf("killed at %d:\n%s\nbefore:\n%s\nafter:\n%s", n, got, before, after)
		}
	}
}

func newKillable(dir string) *FS {
	return New(Config{Home: dir, TempDir: dir + "/tmp", Notes: dir + "/notes"})
}

// killedChild is a child that kills, or the child that is killed.
func killedChild(scenario, dir string) error {
	what, name, _ := strings.Cut(scenario, " ")
	if what == "killed" {
		if err := errors.Join(os.Mkdir(dir+"/far", 0o755), mountTmpfs(dir+"/far")); err != nil {
			return err
		}
		return killEverywhere(name, dir)
	}
	f := newKillable(dir)
	unix.Getsid(0) // markCall
	if what == "recover" {
		return f.Recover()
	}
	return killables[name].do(context.Background(), f)
}

// tearNotes lets notes end in a part of a step.
func tearNotes(dir string) error {
	notes, err := filepath.Glob(dir + "/notes/*")
	for _, note := range notes {
		file, oerr := os.OpenFile(note, os.O_WRONLY|os.O_APPEND, 0)
		if oerr != nil {
			return oerr
		}
		_, werr := file.WriteString("hide\x00" + dir + "/tree")
		err = errors.Join(err, werr, file.Close())
	}
	return err
}

// emptyOut makes the folders anew, but for far, which may be a mount point.
func emptyOut(dir string) error {
	for _, name := range []string{"tree", "tmp", "far"} {
		path := filepath.Join(dir, name)
		makeWritable(machine{}, path)
		if err := os.RemoveAll(path); err != nil && !errors.Is(err, syscall.EBUSY) {
			return err
		}
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// snapshot describes all files below dir, notes too.
func snapshot(dir string) string {
	var b strings.Builder
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || path == dir+"/notes" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch info.Mode().Type() {
		case 0:
			data, _ := os.ReadFile(path)
			what = fmt.Sprintf("%d %.40s", len(data), data)
		case fs.ModeSymlink:
			what, _ = os.Readlink(path)
		}
		fmt.Fprintln(&b, info.Mode(), path[len(dir):], what)
		return nil
	})
	return b.String()
}

// markCall is the system call that begins the count of the others.
const markCall = unix.SYS_GETSID

// runKilled runs a child and kills it as it is about to make its nth system
// call that changes files; never if n is 0.
func runKilled(dir, scenario string, n int) (killed bool, err error) {
	// Who starts a child is the one to trace it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	file, err := os.CreateTemp("", "")
	if err != nil {
		return false, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	cmd := exec.Command("/proc/self/exe", dir)
	// The race detector would wait for a second at the end of each child.
	cmd.Env = append(os.Environ(), childEnv+"="+scenario, "GORACE=atexit_sleep_ms=0")
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	pid := cmd.Process.Pid
	defer cmd.Process.Release()
	counting, count := false, 0
	for traced := false; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("wait: %w", err)
		}
		if tid == pid && (ws.Exited() || ws.Signaled()) {
			if ws.Exited() && ws.ExitStatus() != 0 {
				out, _ := os.ReadFile(file.Name())
				return false, fmt.Errorf("%s: exit status %d\n%s", scenario, ws.ExitStatus(), out)
			}
			return ws.Signaled(), nil
		}
		if !ws.Stopped() {
			continue
		}
		if !traced {
			traced = true
			const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
			if err := unix.PtraceSetOptions(tid, options); err != nil {
				return false, fmt.Errorf("trace: %w", err)
			}
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case sig == unix.SIGTRAP|0x80:
			call := enteredCall(tid)
			if call == markCall {
				counting = true
			} else if call != 0 && counting {
				if count++; count == n {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		case sig != unix.SIGTRAP && sig != unix.SIGSTOP:
			deliver = int(sig)
		}
		unix.PtraceSyscall(tid, deliver) // fails for one that is killed
	}
}

// enteredCall returns the number of the system call that a stopped thread is
// about to make, if that is the mark or may change files, and otherwise 0.
func enteredCall(tid int) uint64 {
	const get, entry = 0x420e, 1
	var info struct { // struct ptrace_syscall_info
		op     uint8
		_      [3]uint8
		arch   uint32
		ip, sp uint64
		nr     uint64
		args   [6]uint64
	}
	unix.RawSyscall6(unix.SYS_PTRACE, get, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if info.op != entry {
		return 0
	}
	switch info.nr {
	case markCall, unix.SYS_WRITE, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2,
		unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT:
		return info.nr
	case unix.SYS_OPENAT:
		if info.args[2]&unix.O_CREAT != 0 {
			return info.nr
		}
	}
	return 0
}

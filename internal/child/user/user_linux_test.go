package user_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

const ordinary = 65534

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func TestDoHoldsForTheCallAndTheGoroutine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can use the rights of another user")
		return
	}
	u, err := user.Lookup("65534:65534")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), filepath.Base(t.TempDir())+"-user-test")
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	var others sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		others.Go(func() { // as root, all the time
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := os.ReadFile(secret); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		_ = u.Do(func() error {
			write("outer")
			_ = u.Do(func() error { write("inner"); return nil })
			if _, err := os.ReadFile(secret); !errors.Is(err, os.ErrPermission) {
				t.Errorf("after a call within a call: %v", err)
			}
			return nil
		})
	}
	close(stop)
	others.Wait()
	func() {
		defer func() { _ = recover() }()
		_ = u.Do(func() error { panic("x") })
	}()
	write("after")
	for name, want := range map[string]uint32{"outer": ordinary, "inner": ordinary, "after": 0} {
		if got := owner(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s is of user %d, want %d", name, got, want)
		}
	}
	if err := (*user.User)(nil).Do(func() error { _, err := os.ReadFile(secret); return err }); err != nil {
		t.Errorf("as nobody else: %v", err)
	}
}

func TestEnvironIsThatOfTheUser(t *testing.T) {
	u := &user.User{Name: "coder", Home: "/home/coder"}
	got := u.Environ([]string{"HOME=/root", "A=b", "XDG_DATA_HOME=/root/x", "USER=root", "XDG_SESSION_TYPE=tty", "SSH_AUTH_SOCK=/s"})
	want := []string{"A=b", "XDG_SESSION_TYPE=tty", "HOME=/home/coder", "USER=coder", "LOGNAME=coder"}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestCannotWriteFindsDirectoriesAbove(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "shared", "data")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	u := &user.User{Name: "x", UID: 4242, GID: 4242, Groups: []uint32{4242}}
	for _, test := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o755, true}, {0o777, false}, {0o777 | os.ModeSticky, true}, {0o775, true}} {
		if err := os.Chmod(filepath.Join(dir, "shared"), test.mode); err != nil {
			t.Fatal(err)
		}
		if err := u.CannotWrite(inner); (err == nil) != test.ok {
			t.Errorf("mode %v: %v", test.mode, err)
		}
	}
	mine := &user.User{Name: "me", UID: uint32(os.Geteuid())}
	if mine.CannotWrite(inner) == nil {
		t.Error("the owner cannot write")
	}
}

package user

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Check returns an error if this program cannot start others as the user.
func (u *User) Check() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can start programs as another user: start the server as root, or leave the user out")
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_SETUID, "CAP_SETUID"}, {unix.CAP_SETGID, "CAP_SETGID"}, {unix.CAP_KILL, "CAP_KILL"}, {unix.CAP_CHOWN, "CAP_CHOWN"}} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			return fmt.Errorf("starting programs as another user needs the capability %s, which this root does not have: add it to the container", c.name)
		}
	}
	return nil
}

// Do calls f with the rights to files that the user has, and what f makes belongs to the
// user. That holds for the calling goroutine alone, not for those that f starts. For nil
// it only calls f.
func (u *User) Do(f func() error) (err error) {
	if u == nil {
		return f()
	}
	runtime.LockOSThread()
	groups, err := syscall.Getgroups()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("read groups: %w", err)
	}
	own := make([]uint32, len(groups))
	for i, g := range groups {
		own[i] = uint32(g)
	}
	const ask = -1 // changes nothing
	ownUID, _ := unix.SetfsuidRetUid(ask)
	ownGID, _ := unix.SetfsgidRetGid(ask)
	defer func() {
		// A thread that cannot go back ends with its goroutine.
		if become(uint32(ownUID), uint32(ownGID), own) == nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := become(u.UID, u.GID, u.Groups); err != nil {
		return fmt.Errorf("use the rights of user %s: %w", u.Name, err)
	}
	return f()
}

// become gives this thread, and no other one, the rights to files of a user. The calls
// of package syscall would do it to all of them.
func become(uid, gid uint32, groups []uint32) error {
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	runtime.KeepAlive(groups)
	const ask = -1 // changes nothing, and returns what holds
	_, _ = unix.SetfsgidRetGid(int(gid))
	if now, _ := unix.SetfsgidRetGid(ask); uint32(now) != gid {
		return os.NewSyscallError("setfsgid", syscall.EPERM)
	}
	_, _ = unix.SetfsuidRetUid(int(uid))
	if now, _ := unix.SetfsuidRetUid(ask); uint32(now) != uid {
		return os.NewSyscallError("setfsuid", syscall.EPERM)
	}
	return nil
}

// Start calls f, which starts a program with the credential of the user, so that the
// program can gain no rights: neither by set-id bits nor by capabilities.
func (u *User) Start(f func() error) error {
	result := make(chan error)
	go func() {
		// Not unlocked: the thread ends with this goroutine, and its setting with it.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			result <- os.NewSyscallError("set no_new_privs", err)
			return
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if unix.Capget(&header, &data[0]) == nil {
			data[0].Inheritable, data[1].Inheritable = 0, 0
			_ = unix.Capset(&header, &data[0]) // lowering is always permitted
		}
		for c := range uintptr(unix.CAP_LAST_CAP + 1) {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0) // what is not there needs no dropping
		}
		result <- f()
	}()
	return <-result
}

// Credential is what a program is started with to run as the user.
func (u *User) Credential() *syscall.Credential {
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: slices.Clone(u.Groups)}
}

func (u *User) mayReplaceIn(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	if stat.Uid == u.UID {
		return true
	}
	if info.Mode()&os.ModeSticky != 0 {
		return false
	}
	return info.Mode()&0o002 != 0 || info.Mode()&0o020 != 0 && slices.Contains(u.Groups, stat.Gid)
}

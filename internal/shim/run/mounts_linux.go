package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/provider"
)

// What a sandbox mounts belongs to a user who may not enter the directories that it
// lies in, when the shim runs as root. So the thread that starts bwrap gets a mount
// namespace of its own, in which all that is mounted hangs below one directory that
// every user may enter. The namespace ends with the thread and with the sandbox.

// stage is that directory. Everything else that is there is hidden from bwrap, which
// needs nothing of it.
const stage = "/tmp"

// A source is something of the host that is mounted into a sandbox.
type source struct {
	name string // below stage
	path string

	// owner is who owns it on disk if it shall look as if the sandbox's user did;
	// -1 if it is to look as it is.
	ownerUID, ownerGID int
}

// enterStage mounts the sources below stage, on the calling thread alone, which is
// never used for anything else.
func enterStage(sources []source, uid int) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	// All before the stage hides what lies below it.
	trees, points := make([]int, len(sources)), make([]func(string) error, len(sources))
	for i, src := range sources {
		tree, err := openTree(src, uid)
		if err != nil {
			return err
		}
		defer unix.Close(tree)
		info, err := os.Stat(src.path)
		if err != nil {
			return err
		}
		trees[i], points[i] = tree, func(at string) error { return os.WriteFile(at, nil, 0o644) }
		if info.IsDir() {
			points[i] = func(at string) error { return os.Mkdir(at, 0o755) }
		}
	}
	if err := unix.Mount("stage", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	for i, src := range sources {
		at := filepath.Join(stage, src.name)
		if err := points[i](at); err != nil {
			return err
		}
		if err := unix.MoveMount(trees[i], "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s: %w", src.path, err)
		}
	}
	return nil
}

// openTree returns a mount of the source that hangs nowhere yet.
func openTree(src source, uid int) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, src.path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s to mount it: %w", src.path, err)
	}
	if src.ownerUID < 0 {
		return tree, nil
	}
	if err := mapOwner(tree, src, uid); err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// mapOwner makes the files of a mount that belong to the owner of the source look
// as if they belonged to the user of the sandbox, and the other way round, see
// [mount_setattr(2)].
//
// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
func mapOwner(tree int, src source, uid int) error {
	namespace, err := userNamespace(src.ownerUID, src.ownerGID, uid)
	if err != nil {
		return err
	}
	defer namespace.Close()
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())})
	if err != nil {
		return provider.Unsupported("workspace mode bind for root needs a file system with id-mapped mounts, which %s is not on (%w); use mode empty, or create the sandbox as an ordinary user", src.path, err)
	}
	return nil
}

// userNamespace returns a namespace that maps one user and group. It is that of a
// child that waits while it is opened.
func userNamespace(ownerUID, ownerGID, uid int) (*os.File, error) {
	holder, err := child.Start(child.Spec{
		Path: "/bin/sh", Args: []string{"-c", "read line"}, Env: []string{}, Stdin: true, Contained: true, // it ends with its input
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: ownerUID, HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: ownerGID, HostID: uid, Size: 1}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	defer func() {
		holder.Stdout.Close()
		holder.Stderr.Close()
		_ = holder.Stop(0)
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", holder.PID()))
}

// ownerOf returns who owns a directory on disk.
func ownerOf(dir string) (uid, gid int, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.ErrUnsupported
	}
	return int(stat.Uid), int(stat.Gid), nil
}

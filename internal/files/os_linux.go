package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// generated reports whether the kernel makes up the file's content on reading,
// so that its size says nothing.
func generated(file *os.File, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Blocks != 0 {
		return false
	}
	// Not by [os.File.Fd], which makes the file block.
	conn, err := file.SyscallConn()
	if err != nil {
		return true
	}
	var sfs unix.Statfs_t
	failed := conn.Control(func(fd uintptr) { err = unix.Fstatfs(int(fd), &sfs) })
	if failed != nil || err != nil {
		return true
	}
	return generates(sfs.Type)
}

// generatedDir reports whether the kernel makes up what the directory holds.
func generatedDir(path string) bool {
	var sfs unix.Statfs_t
	return unix.Statfs(path, &sfs) == nil && generates(sfs.Type)
}

// generates reports whether a filesystem of this type makes up what it holds.
func generates(filesystem int64) bool {
	switch filesystem {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC:
		return true
	}
	return false
}

func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

// exchange lets two names change places. Not every filesystem can do that.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// renameNew renames unless the new name is taken, which is EEXIST.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// Not every filesystem has the flag.
		return renameChecked(from, to)
	}
	return err
}

package permission

import (
	"path"

	"golang.org/x/sys/unix"
)

// onProc reports whether a path is in a mount of proc(5).
func onProc(p string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path.Dir(p), &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC
}

package changes

import (
	"os"

	"golang.org/x/sys/unix"
)

// shareBlocks makes the content of a file that of another without copying it, and
// reports whether the file system can, see [ioctl_ficlone(2)].
//
// [ioctl_ficlone(2)]: https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html
func shareBlocks(to, from *os.File) bool {
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}

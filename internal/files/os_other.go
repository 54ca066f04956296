//go:build !linux

package files

import (
	"io/fs"
	"os"
	"syscall"
)

func generated(*os.File, fs.FileInfo) bool { return false }

func generatedDir(string) bool { return false }

// copyAttributes copies nothing: extended attributes are kept on Linux only.
func copyAttributes(string, *os.File) error { return nil }

func changeTime(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }

func exchange(string, string) error { return syscall.ENOSYS }

func renameNew(from, to string) error { return renameChecked(from, to) }

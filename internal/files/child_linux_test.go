package files

import (
	"os"
	"syscall"
	"testing"
)

// mountTmpfs puts 1 MiB of memory at dir, in this process's own mounts.
func mountTmpfs(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
}

// ownMounts gives a child mounts of its own. Whoever is not root here is root of a
// namespace there.
func ownMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Geteuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

func TestDiskFull(t *testing.T) { runScenario(t, "disk-full", t.TempDir(), ownMounts()) }

func TestMoveAcross(t *testing.T) { runScenario(t, "across", t.TempDir(), ownMounts()) }

// selfExe names the test binary so that another user can run it, whoever owns
// the folders above.
func selfExe(*testing.T) string { return "/proc/self/exe" }

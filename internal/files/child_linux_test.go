package files

import (
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

func TestDiskFull(t *testing.T) {
	runScenario(t, "disk-full", t.TempDir(), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
}

func TestMoveAcross(t *testing.T) {
	runScenario(t, "across", t.TempDir(), &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
}

// selfExe names the test binary so that another user can run it, whoever owns
// the folders above.
func selfExe(*testing.T) string { return "/proc/self/exe" }

//go:build unix

package sandboxagent

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes the server the leader of a process group, so that a Ctrl-C in
// the terminal of this program reaches it only through Close.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func askToEnd(p *os.Process) { p.Signal(syscall.SIGTERM) }

func killGroup(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }

//go:build !unix

package sandboxagent

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func askToEnd(p *os.Process) { p.Kill() }

func killGroup(p *os.Process) { p.Kill() }

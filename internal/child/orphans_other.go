//go:build !linux

package child

import (
	"os/exec"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// AdoptOrphans does nothing here: the first process of the machine waits for them.
func AdoptOrphans() error { return nil }

func orphans([]tree.Process) []tree.Process { return nil }

// EndOrphans does nothing here.
func EndOrphans() {}

func startOurs(cmd *exec.Cmd, start func(*exec.Cmd) error) error { return start(cmd) }

func endedOurs(*exec.Cmd) {}

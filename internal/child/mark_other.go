//go:build !linux

package child

import "os/exec"

// mark is nothing here.
type mark uint64

func startMarked(cmd *exec.Cmd) (mark, error) { return 0, cmd.Start() }

func startUnmarked(cmd *exec.Cmd) error { return cmd.Start() }

func (mark) strays() []int { return nil }

//go:build !linux

package cli

import "golang.org/x/sys/unix"

// The calls that read and change the mode of a terminal.
const getTermios, setTermios = unix.TIOCGETA, unix.TIOCSETA

package child

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName returns a name such as "SIGTERM", or the number of a signal that
// has no name.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}

package process

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSignal is the highest signal number of any system we run on.
const maxSignal = 64

// parseSignal reads a signal: a name in any case, with or without SIG, or a
// number.
func parseSignal(s string) (syscall.Signal, bool) {
	text := strings.ToUpper(strings.TrimSpace(s))
	if n, err := strconv.Atoi(text); err == nil {
		return syscall.Signal(n), n > 0 && n <= maxSignal
	}
	if !strings.HasPrefix(text, "SIG") {
		text = "SIG" + text
	}
	sig := unix.SignalNum(text)
	return sig, sig != 0
}

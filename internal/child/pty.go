package child

import (
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openTTY opens a terminal of a size. The master side has deadlines, and closing
// it ends a read.
func openTTY(size Size) (master, slave *os.File, err error) {
	blocking, slave, err := pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	// The library leaves the master in blocking mode, where a read holds a thread
	// and cannot be interrupted; Go decides about that when it makes the file.
	defer blocking.Close()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err == nil {
			master = os.NewFile(uintptr(fd), blocking.Name())
			err = setSize(master, size)
		}
	}
	if err != nil {
		if master != nil {
			_ = master.Close()
		}
		_ = slave.Close()
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	return master, slave, nil
}

// setSize sets the size of a terminal; the foreground group gets SIGWINCH.
func setSize(master *os.File, size Size) error {
	conn, err := master.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	var ioctlErr error
	err = conn.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
	if err == nil {
		err = ioctlErr
	}
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

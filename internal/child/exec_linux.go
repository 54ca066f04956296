package child

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe makes a pipe between us and a child. Our end waits in the poller of the
// runtime; theirs blocks, as programs expect. [os.Pipe] would put theirs into the
// poller too, only for it to be taken out again when the child starts.
func pipe(toChild bool) (ours, theirs *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	our, their := fds[0], fds[1]
	if toChild {
		our, their = their, our
	}
	err = unix.SetNonblock(our, true) // by which NewFile tells what to do
	ours, theirs = os.NewFile(uintptr(our), "pipe"), os.NewFile(uintptr(their), "pipe")
	if err != nil {
		closeAll([]*os.File{ours, theirs})
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return ours, theirs, nil
}

// startInGroup makes the kernel start a process in a control group.
func startInGroup(attr *syscall.SysProcAttr, fd int) { attr.UseCgroupFD, attr.CgroupFD = true, fd }

// awaitEnd returns when a child has ended that nobody has waited for. This takes no
// thread, as waiting for the child itself does. Where the kernel cannot do it (before
// Linux 5.10, gVisor), it returns at once.
func awaitEnd(pid int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) (ended bool) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n != 0 || err != nil && err != syscall.EINTR
	})
}

// unread returns how many bytes are in a pipe that nobody has open for reading, or
// -1. Nothing can be written to it any more, so the number stays.
func unread(w *os.File) (n int) {
	n = -1
	conn, err := w.SyscallConn()
	if err != nil {
		return n
	}
	_ = conn.Control(func(fd uintptr) {
		end := []unix.PollFd{{Fd: int32(fd)}}
		if _, err := unix.Poll(end, 0); err != nil || end[0].Revents&unix.POLLERR == 0 {
			return
		}
		if held, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil {
			n = held
		}
	})
	return n
}

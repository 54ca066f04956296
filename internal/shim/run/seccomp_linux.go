package run

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The offsets in struct seccomp_data, see [seccomp(2)]. An argument has 64 bits; the
// kernel takes those below of an int, and so does the filter, on a little-endian
// machine at the offset itself.
//
// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

const (
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

func refuse(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// setIDs are the mode bits that no file of a sandbox may get: on a bound workspace
// it would keep them on the host.
const setIDs = unix.S_ISUID | unix.S_ISGID

// creates are the flags of open that make its mode count.
const creates = unix.O_CREAT | (unix.O_TMPFILE &^ unix.O_DIRECTORY)

// A rule is what happens to a system call.
type rule struct {
	number int
	then   uint32
	when   []condition // all of them; none means always
}

// A condition looks at the lower 32 bits of an argument.
type condition struct {
	arg   int
	equal bool // else: has any bit of value
	value uint32
}

func bits(arg int, value uint32) condition { return condition{arg, false, value} }

func equals(arg int, value uint32) condition { return condition{arg, true, value} }

// rules are the system calls that are refused. The rest of the kernel's face is left
// to namespaces and to the missing capabilities.
func rules() []rule {
	var all []rule
	never := func(errno unix.Errno, numbers ...int) {
		for _, number := range numbers {
			all = append(all, rule{number, refuse(errno), nil})
		}
	}
	when := func(number int, conditions ...condition) {
		all = append(all, rule{number, refuse(unix.EPERM), conditions})
	}
	// Sockets that no network namespace contains, or that reach far into the kernel.
	for _, call := range []int{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		for _, family := range []uint32{unix.AF_VSOCK, unix.AF_PACKET, unix.AF_ALG} {
			when(call, equals(0, family))
		}
	}
	never(unix.EPERM,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, // does system calls that no filter sees
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, // has no namespace of its own
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	)
	when(unix.SYS_IOCTL, equals(1, unix.TIOCSTI)) // types into a terminal
	when(unix.SYS_IOCTL, equals(1, unix.TIOCLINUX))

	// Set-id bits, and the file capabilities that are their like. openat2 has its
	// mode in memory, where no filter sees it; programs fall back to openat.
	when(unix.SYS_FCHMOD, bits(1, setIDs))
	when(unix.SYS_FCHMODAT, bits(2, setIDs))
	when(unix.SYS_FCHMODAT2, bits(2, setIDs))
	when(unix.SYS_OPENAT, bits(2, creates), bits(3, setIDs))
	when(unix.SYS_MKDIRAT, bits(2, setIDs))
	when(unix.SYS_MKNODAT, bits(2, setIDs))
	never(unix.ENOSYS, unix.SYS_OPENAT2)
	never(unix.EOPNOTSUPP, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, sysSetxattrat)
	return append(all, archRules()...)
}

// sysSetxattrat has the same number everywhere.
const sysSetxattrat = 463

// filter returns the program for the option --seccomp of bwrap: an array of struct
// sock_filter.
func filter() ([]byte, error) {
	program := []bpf.Instruction{
		// Another architecture (int 0x80 on x86-64) has other numbers, which no rule
		// below would match.
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: nativeArch, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
	}
	program = append(program, foreignNumbers...)
	for _, r := range rules() {
		program = append(program, r.assemble()...)
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: allow}))
	if err != nil {
		return nil, fmt.Errorf("assemble seccomp filter: %w", err)
	}
	var out bytes.Buffer
	for _, ins := range raw {
		_ = binary.Write(&out, binary.NativeEndian, ins) // a buffer takes everything
	}
	return out.Bytes(), nil
}

// assemble returns the rule as a block that starts and ends with the number of the
// call loaded, unless it returns.
func (r rule) assemble() []bpf.Instruction {
	var block []bpf.Instruction
	for _, c := range r.when {
		block = append(block, bpf.LoadAbsolute{Off: uint32(offsetArgs + 8*c.arg), Size: 4})
		test := bpf.JumpBitsSet
		if c.equal {
			test = bpf.JumpEqual
		}
		block = append(block, bpf.JumpIf{Cond: test, Val: c.value}) // where it goes is set below
	}
	block = append(block, bpf.RetConstant{Val: r.then})
	if len(r.when) > 0 {
		block = append(block, bpf.LoadAbsolute{Off: offsetNumber, Size: 4})
	}
	for i, ins := range block {
		if jump, ok := ins.(bpf.JumpIf); ok {
			jump.SkipFalse = uint8(len(block) - 1 - i - 1) // to the last load
			block[i] = jump
		}
	}
	return append([]bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(r.number), SkipFalse: uint8(len(block))},
	}, block...)
}

// filterFile returns the program as an open file that is read from its start.
func filterFile() (*os.File, error) {
	program, err := filter()
	if err != nil {
		return nil, err
	}
	return memoryFile("seccomp", program)
}

// memoryFile returns a file in memory with the content, at its start.
func memoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.WriteAt(content, 0); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

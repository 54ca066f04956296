package run

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const nativeArch = unix.AUDIT_ARCH_X86_64

// foreignNumbers kills what calls by the numbers of x32, which has the architecture
// of x86-64.
var foreignNumbers = []bpf.Instruction{
	bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x40000000, SkipTrue: 1},
	bpf.RetConstant{Val: kill},
}

// archRules are those of calls that newer architectures do not have.
func archRules() []rule {
	return []rule{
		{unix.SYS_CHMOD, refuse(unix.EPERM), []condition{bits(1, setIDs)}},
		{unix.SYS_OPEN, refuse(unix.EPERM), []condition{bits(1, creates), bits(2, setIDs)}},
		{unix.SYS_CREAT, refuse(unix.EPERM), []condition{bits(1, setIDs)}},
		{unix.SYS_MKDIR, refuse(unix.EPERM), []condition{bits(1, setIDs)}},
		{unix.SYS_MKNOD, refuse(unix.EPERM), []condition{bits(1, setIDs)}},
	}
}

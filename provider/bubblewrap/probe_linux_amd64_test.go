package bubblewrap_test

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// legacyWays are the ways that newer architectures do not have.
var legacyWays = []string{"chmod", "open", "creat", "mkdir", "mknod"}

func legacySetID(way string, at uintptr, fresh func(string) uintptr) error {
	switch way {
	case "chmod":
		return call(unix.SYS_CHMOD, at, 0o4755)
	case "open":
		return call(unix.SYS_OPEN, fresh("probe-open"), unix.O_CREAT|unix.O_WRONLY, 0o4755)
	case "creat":
		return call(unix.SYS_CREAT, fresh("probe-creat"), 0o4755)
	case "mkdir":
		return call(unix.SYS_MKDIR, fresh("probe-mkdir"), 0o2755)
	case "mknod":
		return call(unix.SYS_MKNOD, fresh("probe-mknod"), unix.S_IFREG|0o4755, 0)
	}
	return fmt.Errorf("no way %q", way)
}

// refusedCalls are the system calls that are refused, by their numbers on i386 and on
// x86-64.
var refusedCalls = map[string][2]uint32{
	"chmod": {15, unix.SYS_CHMOD}, "fchmod": {94, unix.SYS_FCHMOD}, "fchmodat": {306, unix.SYS_FCHMODAT}, "fchmodat2": {452, unix.SYS_FCHMODAT2},
	"open": {5, unix.SYS_OPEN}, "creat": {8, unix.SYS_CREAT}, "openat": {295, unix.SYS_OPENAT}, "openat2": {437, unix.SYS_OPENAT2},
	"mkdir": {39, unix.SYS_MKDIR}, "mkdirat": {296, unix.SYS_MKDIRAT}, "mknod": {14, unix.SYS_MKNOD}, "mknodat": {297, unix.SYS_MKNODAT},
	"socket": {359, unix.SYS_SOCKET}, "socketpair": {360, unix.SYS_SOCKETPAIR}, "socketcall": {102, unix.SYS_SOCKET},
	"ioctl": {54, unix.SYS_IOCTL}, "setxattr": {226, unix.SYS_SETXATTR}, "lsetxattr": {227, unix.SYS_LSETXATTR}, "fsetxattr": {228, unix.SYS_FSETXATTR},
	"add_key": {286, unix.SYS_ADD_KEY}, "request_key": {287, unix.SYS_REQUEST_KEY}, "keyctl": {288, unix.SYS_KEYCTL},
	"perf_event_open": {336, unix.SYS_PERF_EVENT_OPEN}, "bpf": {357, unix.SYS_BPF},
	"io_uring_setup": {425, unix.SYS_IO_URING_SETUP}, "io_uring_enter": {426, unix.SYS_IO_URING_ENTER}, "io_uring_register": {427, unix.SYS_IO_URING_REGISTER},
}

// foreignPrograms are small programs that call by the numbers of another
// architecture and then exit with 0.
func foreignPrograms() map[string][]byte {
	const x32 = 0x40000000
	exit := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // xor edi, edi; mov eax, 60; syscall
	calls := func(number uint32, by ...byte) []byte {         // mov eax, number
		return elf(append(append(binary.LittleEndian.AppendUint32([]byte{0xb8}, number), by...), exit...))
	}
	programs := map[string][]byte{"getpid of x32": calls(unix.SYS_GETPID|x32, 0x0f, 0x05)}
	for name, numbers := range refusedCalls {
		programs[name+" of i386 by int 0x80"] = calls(numbers[0], 0xcd, 0x80)
		programs[name+" of x32"] = calls(numbers[1]|x32, 0x0f, 0x05)
	}
	return programs
}

// elf returns a program of x86-64 that runs code.
func elf(code []byte) []byte {
	const base, head = 0x400000, 64 + 56
	out := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	le := binary.LittleEndian
	u16 := func(v ...uint16) {
		for _, x := range v {
			out = le.AppendUint16(out, x)
		}
	}
	u64 := func(v ...uint64) {
		for _, x := range v {
			out = le.AppendUint64(out, x)
		}
	}
	u16(2, 62)
	out = le.AppendUint32(out, 1)
	u64(base+head, 64, 0)
	out = le.AppendUint32(out, 0)
	u16(64, 56, 1, 0, 0, 0)
	out = le.AppendUint32(out, 1) // PT_LOAD
	out = le.AppendUint32(out, 5) // read and execute
	size := uint64(head + len(code))
	u64(0, base, base, size, size, 0x1000)
	return append(out, code...)
}

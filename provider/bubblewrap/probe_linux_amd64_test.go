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

// foreignPrograms are small programs that call by the numbers of another
// architecture and then exit with 0.
func foreignPrograms() map[string][]byte {
	exit := []byte{0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}
	return map[string][]byte{
		"chmod of i386 by int 0x80": elf(append([]byte{0xb8, 15, 0, 0, 0, 0x31, 0xdb, 0xb9, 0xed, 0x09, 0, 0, 0xcd, 0x80}, exit...)),
		"socket of i386":            elf(append([]byte{0xb8, 0x67, 0x01, 0, 0, 0xbb, 40, 0, 0, 0, 0xb9, 1, 0, 0, 0, 0xcd, 0x80}, exit...)),
		"getpid of x32":             elf(append([]byte{0xb8, 39, 0, 0, 0x40, 0x0f, 0x05}, exit...)),
	}
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

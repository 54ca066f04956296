package conceal

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// overwrite writes text, which is as long, over an argument, which is memory of the
// kernel's making: the runtime does not copy arguments.
func overwrite(arg, text string) string {
	copy(unsafe.Slice(unsafe.StringData(arg), len(arg)), text)
	return arg
}

// overwriteEnvironment removes the variables whose names begin with a prefix from the
// environment that the process was started with. The runtime has a copy of that.
func overwriteEnvironment(prefix string) {
	// Only where the kernel says where it is: one that has no /proc shows nobody
	// anything.
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const start, end = 49 - 2, 50 - 2 // env_start and env_end of proc_pid_stat(5), from 0 after the name
	if len(fields) <= end {
		return
	}
	from, errFrom := strconv.ParseUint(string(fields[start]), 10, 64)
	to, errTo := strconv.ParseUint(string(fields[end]), 10, 64)
	if errFrom != nil || errTo != nil || from == 0 || from >= to {
		return
	}
	memory := environment(uintptr(from), int(to-from))
	for len(memory) > 0 {
		size := bytes.IndexByte(memory, 0)
		if size < 0 {
			size = len(memory)
		}
		if bytes.HasPrefix(memory, []byte(prefix)) {
			clear(memory[:size])
		}
		memory = memory[min(size+1, len(memory)):]
	}
}

// environment is the memory at an address that the kernel has reported.
func environment(address uintptr, size int) []byte {
	// By way of a pointer to the number, since no pointer exists to make it from.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	return unsafe.Slice((*byte)(start), size)
}

// Process makes this process unreadable for others of its user: its memory, open
// files, and environment are those of root in /proc, nothing can attach to it to debug
// it, and it leaves no core; see PR_SET_DUMPABLE(2const). Programs that it starts are
// not affected. Against root it does nothing.
func Process() {
	const setDumpable = 4 // PR_SET_DUMPABLE
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
}

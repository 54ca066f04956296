// Package memory gives memory back that a program has mapped but does not use.
package memory

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// ReleaseProgram gives back the pages of the program itself, most of which are mapped
// by the initialisation of packages and by the kernel's reading around. Those that
// are used again come back from the page cache, at the cost of a minor fault for each
// 64 KiB. Failing changes nothing, so it does not report.
func ReleaseProgram() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		from, to, ok := constantPart(line, exe)
		if !ok {
			continue
		}
		// Only mappings that are not writable: their pages are those of the file.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
	}
}

// constantPart returns the addresses of a line of /proc/self/maps if it is a
// private mapping of exe that cannot be written to.
func constantPart(line []byte, exe string) (from, to uintptr, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) != 6 || string(fields[5]) != exe || len(fields[1]) != 4 || fields[1][1] != '-' || fields[1][3] != 'p' {
		return 0, 0, false
	}
	low, high, found := bytes.Cut(fields[0], []byte{'-'})
	a, errA := strconv.ParseUint(string(low), 16, 64)
	b, errB := strconv.ParseUint(string(high), 16, 64)
	return uintptr(a), uintptr(b), found && errA == nil && errB == nil && a < b
}

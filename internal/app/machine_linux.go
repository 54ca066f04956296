package app

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// thisMachine returns what this process may have.
func thisMachine() machine {
	m := machine{files: maxFiles()}
	var system syscall.Sysinfo_t
	if syscall.Sysinfo(&system) == nil {
		m.memory = uint64(system.Totalram) * uint64(system.Unit)
	}
	const nproc = 6 // RLIMIT_NPROC
	var limit syscall.Rlimit
	if os.Geteuid() != 0 && syscall.Getrlimit(nproc, &limit) == nil {
		m.pids = limit.Cur
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		m.within("/sys/fs/cgroup", string(groups))
	}
	return m
}

// within lowers m to the limits of control groups, which are those of
// /proc/self/cgroup and all above them: see cgroups(7).
func (m *machine) within(root, groups string) {
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		switch {
		case controllers == "":
			m.lower(root, path, "pids.max", "memory.max")
		case controllers == "pids":
			m.lower(root+"/pids", path, "pids.max", "")
		case controllers == "memory":
			m.lower(root+"/memory", path, "", "memory.limit_in_bytes")
		}
	}
}

func (m *machine) lower(root, path, pids, memory string) {
	for {
		lowerTo(&m.pids, filepath.Join(root, path, pids))
		lowerTo(&m.memory, filepath.Join(root, path, memory))
		if path == "/" || path == "." || path == "" {
			return
		}
		path = filepath.Dir(path)
	}
}

// lowerTo lowers n to the number in a file, if there is one.
func lowerTo(n *uint64, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err == nil && limit > 0 && (*n == 0 || limit < *n) {
		*n = limit
	}
}

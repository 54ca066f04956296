package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// hierarchy is where this process may make groups.
type hierarchy struct {
	dir     string // of the group that this process is in
	unified bool
}

// hierarchies returns those that groups can be frozen in, the unified one first.
func hierarchies() []hierarchy {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var found []hierarchy
	for line := range strings.Lines(string(mounts)) {
		m, ok := parseMount(line)
		if !ok {
			continue
		}
		group, ok := groupIn(string(groups), m.unified)
		if !ok {
			continue
		}
		// In a container the mount may show only a part, which is where we are.
		rel, err := filepath.Rel(m.root, group)
		if err != nil || strings.HasPrefix(rel, "..") {
			rel = "."
		}
		h := hierarchy{filepath.Join(m.point, rel), m.unified}
		if !h.holds(os.Getpid()) {
			continue
		}
		found = append(found, h)
	}
	slices.SortStableFunc(found, func(a, b hierarchy) int {
		switch {
		case a.unified == b.unified:
			return 0
		case a.unified:
			return -1
		}
		return 1
	})
	return found
}

// mount is a mounted hierarchy that has a freezer.
type mount struct {
	root, point string
	unified     bool
}

// parseMount reads a line of /proc/self/mountinfo, see proc(5).
func parseMount(line string) (m mount, ok bool) {
	before, after, found := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if !found || len(fields) < 5 || len(kind) < 3 {
		return m, false
	}
	m = mount{root: unescape(fields[3]), point: unescape(fields[4]), unified: kind[0] == "cgroup2"}
	freezer := kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "freezer")
	return m, m.unified || freezer
}

// unescape decodes the blanks and backslashes of a path in mountinfo.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// groupIn returns the group of a process from its /proc/PID/cgroup.
func groupIn(groups string, unified bool) (path string, ok bool) {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if unified && parts[0] == "0" && parts[1] == "" || !unified && slices.Contains(strings.Split(parts[1], ","), "freezer") {
			return parts[2], true
		}
	}
	return "", false
}

// holds reports whether a process is in the group.
func (h hierarchy) holds(pid int) bool {
	text, err := os.ReadFile(filepath.Join(h.dir, "cgroup.procs"))
	return err == nil && slices.Contains(strings.Fields(string(text)), strconv.Itoa(pid))
}

// sweep removes the groups of processes that are gone.
func (h hierarchy) sweep() {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		number, ours := strings.CutPrefix(e.Name(), prefix)
		pid, err := strconv.Atoi(number)
		if ours && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			removeAll(filepath.Join(h.dir, e.Name()))
		}
	}
}

// Remove removes the groups of a process that is gone, but for groups that have
// processes. It reports whether none is left.
func Remove(pid int) (gone bool) {
	gone = true
	for _, h := range hierarchies() {
		dir := filepath.Join(h.dir, prefix+strconv.Itoa(pid))
		removeAll(dir)
		if _, err := os.Stat(dir); err == nil {
			gone = false
		}
	}
	return gone
}

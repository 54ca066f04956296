package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweepWait bounds the wait for processes that were killed.
const sweepWait = 5 * time.Second

// ProcessOf returns what tells a process that lives from one that gets its number
// later. The zero value is one that does not live.
func ProcessOf(pid int) Process {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return Process{}
	}
	return Process{pid, fields[19]} // starttime, see proc_pid_stat(5)
}

// sweep ends what a dead shim left, and removes its cgroups. What has namespaces of
// its own has ended with the shim. The server of a sandbox that has none ends by
// itself after the shim; what it leaves is known by a variable of its environment,
// unless it has dropped that.
func sweep(status Status) {
	for _, dir := range status.Cgroups {
		RemoveCgroup(dir)
	}
	deadline := time.Now().Add(2 * sweepWait)
	for status.Server.PID != 0 && ProcessOf(status.Server.PID) == status.Server && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
		if status.Marker == "" || stoppedProcess(status.Server.PID) {
			_ = unix.Kill(status.Server.PID, unix.SIGKILL)
		}
	}
	for status.Marker != "" && killMarked(status.Marker) && time.Now().Before(deadline.Add(sweepWait)) {
		time.Sleep(5 * time.Millisecond)
	}
}

// killMarked kills the processes with a variable in their environment, and reports
// whether there were any. A server lets no ordinary user read its environment, so that
// it is known by its arguments, which name the journal of the sandbox.
func killMarked(marker string) (found bool) {
	_, id, _ := strings.Cut(marker, "=")
	journal := "/" + id + "/" + LocalJournal
	marked := func(process string) bool {
		if data, err := os.ReadFile(filepath.Join(process, "environ")); err == nil {
			return slices.Contains(strings.Split(string(data), "\x00"), marker)
		}
		data, err := os.ReadFile(filepath.Join(process, "cmdline"))
		return err == nil && slices.ContainsFunc(strings.Split(string(data), "\x00"), func(arg string) bool {
			return strings.HasSuffix(arg, journal)
		})
	}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		if !marked(name) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil && pid != os.Getpid() {
			found = unix.Kill(pid, unix.SIGKILL) == nil || found
		}
	}
	return found
}

// stoppedProcess reports whether a process was stopped by a signal, so that it does
// not see the end of its shim.
func stoppedProcess(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.HasPrefix(string(data[bytes.LastIndexByte(data, ')')+1:]), " T")
}

// RemoveCgroup kills what is in a cgroup and below it, frozen or not, and removes
// these. One that does not exist is removed already.
func RemoveCgroup(dir string) {
	deadline := time.Now().Add(sweepWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		for _, below := range slices.Backward(cgroupsOf(dir)) { // children first
			_ = os.Remove(below)
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			return
		}
		KillCgroup(dir)
		time.Sleep(pause)
	}
}

// cgroupsOf returns a cgroup and all below it, parents first.
func cgroupsOf(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, name)
		}
		return nil // what vanishes meanwhile is no error
	})
	return dirs
}

// KillCgroup sends SIGKILL to all that is in a cgroup and below it, and lets it go
// on, since the frozen of cgroup v1 do not die.
func KillCgroup(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) != nil {
		for _, pid := range CgroupPIDs(dir) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
}

// CgroupPIDs returns the processes in a cgroup and below it.
func CgroupPIDs(dir string) []int {
	var pids []int
	for _, below := range cgroupsOf(dir) {
		data, _ := os.ReadFile(filepath.Join(below, "cgroup.procs"))
		for text := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

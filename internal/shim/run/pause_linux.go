package run

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopAll sends stop signals to every descendant of this process until none of
// them runs: one may fork while the table is read. It returns those that it stopped;
// what was stopped before stays so after the pause.
func stopAll() ([]int, error) {
	deadline := time.Now().Add(freezeWait)
	asked := make(map[int]bool)
	for {
		running := 0
		for _, pid := range descendants() {
			if stopped(pid, asked[pid]) {
				continue
			}
			running++
			if syscall.Kill(pid, syscall.SIGSTOP) == nil {
				asked[pid] = true
			}
		}
		if running == 0 {
			return slices.Collect(maps.Keys(asked)), nil
		}
		if time.Now().After(deadline) {
			return slices.Collect(maps.Keys(asked)), fmt.Errorf("pause sandbox: %d processes did not stop within %v", running, freezeWait)
		}
		time.Sleep(time.Millisecond)
	}
}

// guardName is how the guard of package child calls itself. It is the one child
// that is not of the sandbox.
const guardName = "sandbox-agent-guard\x00"

// descendants returns the processes below this one.
func descendants() []int {
	parents := make(map[int]int)
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		if parent, ok := parentOf(name); ok {
			pid, _ := strconv.Atoi(filepath.Base(name))
			parents[pid] = parent
		}
	}
	self := os.Getpid()
	guard := 0
	for pid, parent := range parents {
		if parent == self {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if bytes.HasPrefix(cmdline, []byte(guardName)) {
				guard = pid
			}
		}
	}
	found := map[int]bool{self: true}
	var pids []int
	for grown := true; grown; {
		grown = false
		for pid, parent := range parents {
			if found[parent] && !found[pid] && pid != guard {
				found[pid], grown = true, true
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func parentOf(dir string) (pid int, ok bool) {
	fields, ok := stat(dir)
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(fields[1])
	return pid, err == nil
}

// stat returns the fields of a stat file after the name.
func stat(dir string) ([]string, bool) {
	data, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, false
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return fields, len(fields) > 2
}

// stopped reports whether no thread of a process runs. The first one alone does not
// tell: it may have ended before the others. A thread inside the kernel that does not
// heed signals, as the parent of a vfork, stops before it runs again if the process
// was asked to.
func stopped(pid int, asked bool) bool {
	still := "TtZXx"
	if asked {
		still += "D"
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		if fields, ok := stat(task); ok && !strings.Contains(still, fields[0]) {
			return false
		}
	}
	return true
}

package child

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// members returns the living processes of a session and all their descendants,
// also those that made a session of their own. With exited the leader of the
// session has been waited for: should the table show a process of that number,
// the number belongs to another process by now, and the session is gone. (The
// kernel does not give a number away while a session bears it.)
func members(table []tree.Process, sid int, exited bool) []tree.Process {
	if exited {
		for _, p := range table {
			if p.PID == sid {
				return nil
			}
		}
	}
	return tree.Below(table, func(p tree.Process) bool { return p.Session == sid })
}

// remains reports whether a session whose leader has been waited for still has
// processes, or may have.
func remains(sid int) bool { return len(members(tree.Table(), sid, true)) > 0 }

// liveSessions returns the sessions that have processes but not their leader.
func liveSessions() map[int]bool {
	table := tree.Table()
	live := make(map[int]bool)
	for _, p := range table {
		live[p.Session] = true
	}
	for _, p := range table {
		delete(live, p.PID)
	}
	return live
}

// pfExiting is PF_EXITING of the kernel.
const pfExiting = 0x4

// ending reports whether a process runs no more. The kernel may not have done with
// it yet, whose files are closed one after the other, or we may not, who have
// waited for it.
func ending(pid int) bool {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // empty if it is gone
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return unix.Kill(pid, 0) == unix.ESRCH
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&pfExiting != 0
}

package child

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// entry is what we need of one line of the process table.
type entry struct{ pid, parent, session int }

// members returns the living processes of a session and all their descendants,
// also those that made a session of their own. With exited the leader of the
// session has been waited for: should the table show a process of that number,
// the number belongs to somebody else by now, and the session is gone. (The
// kernel does not give a number away while a session bears it.)
func members(sid int, exited bool) []int {
	table := processTable()
	in := make(map[int]bool)
	for _, e := range table {
		if exited && e.pid == sid {
			return nil
		}
		if e.session == sid {
			in[e.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, e := range table {
			if in[e.parent] && !in[e.pid] {
				in[e.pid] = true
				grown = true
			}
		}
	}
	pids := make([]int, 0, len(in))
	for pid := range in {
		pids = append(pids, pid)
	}
	return pids
}

// remains reports whether a session whose leader has been waited for still has
// processes, or may have.
func remains(sid int) bool { return len(members(sid, true)) > 0 }

// processTable reads /proc. Zombies are left out, as nothing can be done to them.
func processTable() []entry {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	table := make([]entry, 0, len(names))
	var buf [512]byte
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if e, ok := parseStat(pid, readStat(name, buf[:])); ok {
			table = append(table, e)
		}
	}
	return table
}

// readStat reads the stat file of a process, or nothing if it ended meanwhile.
// It does without os.File because a table has many.
func readStat(name string, buf []byte) []byte {
	fd, err := unix.Open("/proc/"+name+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// parseStat reads a line of /proc/PID/stat, whose second field is a name in
// parentheses that may hold blanks and parentheses itself.
func parseStat(pid int, stat []byte) (entry, bool) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return entry{}, false
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 4 {
		return entry{}, false
	}
	switch fields[0][0] {
	case 'Z', 'X', 'x':
		return entry{}, false
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	return entry{pid, parent, session}, err1 == nil && err2 == nil
}

// liveSessions returns the sessions that have processes but not their leader.
func liveSessions() map[int]bool {
	table := processTable()
	live := make(map[int]bool)
	for _, e := range table {
		live[e.session] = true
	}
	for _, e := range table {
		delete(live, e.pid)
	}
	return live
}

// pfExiting is PF_EXITING of the kernel.
const pfExiting = 0x4

// ending reports whether a process runs no more. The kernel may not have done with
// it yet, whose files are closed one after the other, or we may not, who have
// waited for it.
func ending(pid int) bool {
	var buf [512]byte
	stat := readStat(strconv.Itoa(pid), buf[:])
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return unix.Kill(pid, 0) == unix.ESRCH
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&pfExiting != 0
}

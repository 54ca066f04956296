package app

import "syscall"

// machineConnections returns how many connections of clients a server has room for by
// default: half of the files that it may open, since agents, processes, and the
// journal need the others.
func machineConnections() int {
	return int(min(max(maxFiles()/2, 64), 8192))
}

// maxFiles returns how many files this process may have open.
func maxFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024 // what most systems allow at least
	}
	return limit.Cur
}

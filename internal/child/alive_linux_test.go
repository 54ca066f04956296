package child

// alive reports whether a process runs and is no zombie.
func alive(pid int) bool {
	for _, e := range processTable() {
		if e.pid == pid {
			return true
		}
	}
	return false
}

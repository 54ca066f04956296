package child

import "github.com/sandboxagent/sandboxagent/internal/child/tree"

// alive reports whether a process runs and is no zombie.
func alive(pid int) bool {
	_, ok := tree.Find(pid)
	return ok
}

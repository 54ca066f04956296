package child

import (
	"sync"

	"github.com/sandboxagent/sandboxagent/internal/child/cgroup"
)

// groups makes the control groups of children, from the first child after
// [AdoptOrphans] on, since only a program that ends with [EndOrphans] removes them. The
// root is nil before, and where none can be made.
var groups struct {
	sync.Mutex
	wanted bool // the root is to be opened
	root   *cgroup.Root
}

func wantGroups() {
	groups.Lock()
	defer groups.Unlock()
	groups.wanted = true
}

func newGroup() *cgroup.Group {
	groups.Lock()
	defer groups.Unlock()
	if groups.wanted {
		groups.wanted = false
		if root, err := cgroup.Open(); err == nil { // else sessions and descendants are what there is
			groups.root = root
		}
	}
	return groups.root.New()
}

// closeGroups makes no more groups, and removes those without processes.
func closeGroups() {
	groups.Lock()
	defer groups.Unlock()
	groups.wanted = false
	groups.root.Close()
	groups.root = nil
}

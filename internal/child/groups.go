package child

import (
	"sync"

	"github.com/sandboxagent/sandboxagent/internal/child/cgroup"
)

// groups makes the control groups of children. It is nil until [AdoptOrphans], since
// only a program that ends with [EndOrphans] removes them, and where none can be made.
var groups struct {
	sync.RWMutex
	root *cgroup.Root
}

func openGroups() {
	root, err := cgroup.Open()
	if err != nil {
		return // sessions and descendants are what there is
	}
	groups.Lock()
	defer groups.Unlock()
	groups.root = root
}

func newGroup() *cgroup.Group {
	groups.RLock()
	defer groups.RUnlock()
	return groups.root.New()
}

// closeGroups makes no more groups, and removes those without processes.
func closeGroups() {
	groups.Lock()
	defer groups.Unlock()
	groups.root.Close()
	groups.root = nil
}

package child

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child/cgroup"
	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// ErrPaused says that a child was not started because its [Roster] is paused.
var ErrPaused = errors.New("everything is paused")

// ErrIncomplete says that something goes on that was to be stopped or killed, since it
// belongs to another user or sits inside the kernel.
var ErrIncomplete = errors.New("not every process could be reached")

// Roster knows children that are paused, continued, and killed together, with all that
// they have started: also what has left their sessions and outlived them, in a program
// that adopts orphans. The zero value is an empty one. A nil Roster refuses nothing.
type Roster struct {
	starting sync.RWMutex // held for reading by what starts a child

	mu       sync.Mutex
	paused   bool
	children map[*Child]struct{}
	stopped  []tree.Process // by Pause
}

// The limits of what is done to all processes at once.
const (
	pauseLimit = 5 * time.Second
	killLimit  = 5 * time.Second
)

// enter is called before a child is started, and what it returns afterwards.
func (r *Roster) enter() (leave func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	r.starting.RLock()
	if r.Paused() {
		r.starting.RUnlock()
		return nil, ErrPaused
	}
	return r.starting.RUnlock, nil
}

func (r *Roster) add(c *Child) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children == nil {
		r.children = make(map[*Child]struct{})
	}
	r.children[c] = struct{}{}
}

func (r *Roster) remove(c *Child) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.children, c)
}

// Paused reports whether everything is paused.
func (r *Roster) Paused() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paused
}

// all returns the children that live, or have left something behind.
func (r *Roster) all() []*Child {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Child, 0, len(r.children))
	for c := range r.children {
		all = append(all, c)
	}
	return all
}

// members returns all processes of all children, and orphans.
func (r *Roster) members(table []tree.Process) []tree.Process {
	in := make(map[int]bool)
	for _, c := range r.all() {
		for _, p := range c.members(table) {
			in[p.PID] = true
		}
	}
	for _, p := range orphans(table) {
		in[p.PID] = true
	}
	return tree.Below(table, func(p tree.Process) bool { return in[p.PID] })
}

// eachGroup calls do with the control group of each child.
func (r *Roster) eachGroup(do func(*cgroup.Group)) {
	for _, c := range r.all() {
		c.grouped.RLock()
		do(c.group)
		c.grouped.RUnlock()
	}
}

// Pause stops everything where it is, and refuses new children, until Resume. The
// error is [ErrIncomplete] if something runs on; it is tried again by another Pause.
func (r *Roster) Pause() error {
	r.starting.Lock()
	r.mu.Lock()
	r.paused = true
	r.mu.Unlock()
	r.starting.Unlock()
	// What is frozen does not fork before the signal has reached all of it. It is not
	// left so: a frozen process may be deaf to SIGKILL, and its state says nothing.
	r.eachGroup((*cgroup.Group).Freeze)
	r.eachGroup((*cgroup.Group).AwaitFrozen)
	stopped, complete := tree.Stop(r.members, pauseLimit, func() { r.eachGroup((*cgroup.Group).Thaw) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = append(r.stopped, stopped...)
	if !complete {
		return ErrIncomplete
	}
	return nil
}

// Resume lets everything go on that Pause has stopped.
func (r *Roster) Resume() {
	r.mu.Lock()
	stopped := r.stopped
	r.stopped, r.paused = nil, false
	r.mu.Unlock()
	tree.Continue(stopped)
}

// Kill kills everything. The error is [ErrIncomplete] if something is left.
func (r *Roster) Kill() error {
	r.eachGroup(func(g *cgroup.Group) { g.Signal(syscall.SIGKILL) })
	if !tree.Kill(r.members, killLimit, nil) {
		return ErrIncomplete
	}
	return nil
}

// KillOrphans kills what children have left behind and no child owns any more.
func (r *Roster) KillOrphans() error {
	if !tree.Kill(orphans, killLimit, nil) {
		return ErrIncomplete
	}
	return nil
}

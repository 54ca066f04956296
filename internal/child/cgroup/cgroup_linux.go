// Package cgroup puts each child of this program into a control group, where that can
// be done: in the unified hierarchy, else in the freezer of version 1. A process
// leaves its group neither with setsid nor by forking twice.
//
// The groups of a process stand in a directory "sandbox-agent-PID" below the group
// that this process is in, so that all limits of that one hold for them as well. Every
// method of a nil [Root] or [Group] works as one without processes.
//
// See [cgroup_namespaces(7)], [cgroup v2] and [freezer of v1].
//
// [cgroup_namespaces(7)]: https://man7.org/linux/man-pages/man7/cgroup_namespaces.7.html
// [cgroup v2]: https://docs.kernel.org/admin-guide/cgroup-v2.html
// [freezer of v1]: https://docs.kernel.org/admin-guide/cgroup-v1/freezer-subsystem.html
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Root makes groups. Its methods may be called from any goroutine.
type Root struct {
	dir     string // of this process
	unified bool

	mu     sync.Mutex
	closed bool
	last   int
	free   []*Group // without processes
}

// A Group is the group of one child and of all that it starts.
type Group struct {
	root *Root
	dir  string
	fd   *os.File // the directory

	// killed is set by cgroup.kill, after which Linux 6.18 kills what is started in
	// the group at once.
	killed atomic.Bool
}

// prefix is how the directory of a process starts, before its id.
const prefix = "sandbox-agent-"

// maxGroups bounds the search for a name that is free.
const maxGroups = 1 << 20

// Open returns a root for this process, or an error if it may not make groups. It
// removes what processes have left that are gone.
func Open() (*Root, error) {
	var errs []error
	for _, h := range hierarchies() {
		r, err := h.open()
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	if errs == nil {
		return nil, errors.New("make a control group: no hierarchy with a freezer is mounted")
	}
	return nil, fmt.Errorf("make a control group: %w", errors.Join(errs...))
}

func (h hierarchy) open() (*Root, error) {
	h.sweep()
	r := &Root{dir: filepath.Join(h.dir, prefix+strconv.Itoa(os.Getpid())), unified: h.unified}
	if err := os.Mkdir(r.dir, 0o755); err != nil && !os.IsExist(err) { // an earlier process of this number has left it
		return nil, err
	}
	if err := r.try(); err != nil {
		_ = os.Remove(r.dir)
		return nil, err
	}
	return r, nil
}

// try makes the first group, and looks whether it can be frozen.
func (r *Root) try() error {
	g, err := r.make()
	if err != nil {
		return err
	}
	if err := g.setFrozen(false); err != nil {
		g.remove()
		return err
	}
	r.free = append(r.free, g)
	return nil
}

// New returns a group without processes, or nil if none can be made.
func (r *Root) New() *Group {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	if n := len(r.free) - 1; n >= 0 {
		g := r.free[n]
		r.free = r.free[:n]
		return g
	}
	g, err := r.make()
	if err != nil {
		return nil
	}
	return g
}

func (r *Root) make() (*Group, error) {
	var dir string
	for {
		r.last++
		dir = filepath.Join(r.dir, strconv.Itoa(r.last))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			break
		}
		// What exists may belong to a process of another namespace that has our number.
		if !os.IsExist(err) || r.last > maxGroups {
			return nil, err
		}
	}
	fd, err := os.Open(dir)
	if err != nil {
		_ = os.Remove(dir)
		return nil, err
	}
	return &Group{root: r, dir: dir, fd: fd}, nil
}

// Close removes the groups that have no processes, and makes no more.
func (r *Root) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, g := range r.free {
		g.remove()
	}
	r.free = nil
	removeAll(r.dir)
}

// Descriptor returns the open directory of a group in the unified hierarchy, into
// which the kernel can start a process (CLONE_INTO_CGROUP).
func (g *Group) Descriptor() (fd int, ok bool) {
	if g == nil || !g.root.unified {
		return 0, false
	}
	return int(g.fd.Fd()), true
}

// Add moves a process into the group, unless it was started in it.
func (g *Group) Add(pid int) {
	if g == nil || g.root.unified {
		return
	}
	_ = g.write("cgroup.procs", strconv.Itoa(pid)) // one that has ended needs no group
}

// PIDs returns the processes of the group and of those that stand below it.
func (g *Group) PIDs() []int {
	if g == nil {
		return nil
	}
	var pids []int
	for _, dir := range below(g.dir) {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // removed meanwhile
		}
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 { // 0 is one of another namespace
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Empty reports whether the group has no processes.
func (g *Group) Empty() bool {
	if g == nil {
		return true
	}
	if g.root.unified {
		text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
		return err != nil || strings.Contains(string(text), "populated 0")
	}
	return len(g.PIDs()) == 0
}

// Signal sends a signal to all processes of the group, while none of them can fork.
// They get it when they run again, which is before it returns.
func (g *Group) Signal(sig syscall.Signal) {
	if g == nil {
		return
	}
	if sig == syscall.SIGKILL && g.root.unified && g.write("cgroup.kill", "1") == nil {
		g.killed.Store(true)
		return
	}
	g.Freeze()
	g.AwaitFrozen() // one that is not in time gets the signal as well
	for _, pid := range g.PIDs() {
		_ = syscall.Kill(pid, sig)
	}
	g.Thaw()
}

// Freeze begins to stop the processes of the group, which neither they nor others
// notice, and Thaw lets them go on. Failing leaves them as they are.
func (g *Group) Freeze() { _ = g.setFrozen(true) }

// Thaw is the end of Freeze.
func (g *Group) Thaw() { _ = g.setFrozen(false) }

func (g *Group) setFrozen(on bool) error {
	switch {
	case g == nil:
		return nil
	case g.root.unified && on:
		return g.write("cgroup.freeze", "1")
	case g.root.unified:
		return g.write("cgroup.freeze", "0")
	case on:
		return g.write("freezer.state", "FROZEN")
	}
	return g.write("freezer.state", "THAWED")
}

// freezeLimit bounds the wait for a group to stand still. A process inside the kernel
// outlasts it.
const freezeLimit = 100 * time.Millisecond

// AwaitFrozen waits until a group stands still that is being frozen.
func (g *Group) AwaitFrozen() {
	if g == nil {
		return
	}
	file, want := "freezer.state", "FROZEN"
	if g.root.unified {
		file, want = "cgroup.events", "frozen 1"
	}
	for deadline := time.Now().Add(freezeLimit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(g.dir, file))
		if err != nil || strings.Contains(string(text), want) {
			return
		}
	}
}

// Release gives the group back: to the next child if it is empty, else it is left
// until its root is closed. It must not be used any more.
func (g *Group) Release() {
	if g == nil {
		return
	}
	g.Thaw() // for the child that has it next
	g.root.mu.Lock()
	defer g.root.mu.Unlock()
	if g.root.closed || g.killed.Load() || !g.Empty() || len(below(g.dir)) > 1 {
		g.remove()
		return
	}
	g.root.free = append(g.root.free, g)
}

func (g *Group) remove() {
	_ = g.fd.Close()
	removeAll(g.dir)
}

func (g *Group) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// below returns a directory of groups and all directories below it, those first that
// stand above.
func below(dir string) []string {
	all := []string{dir}
	for i := 0; i < len(all); i++ {
		entries, err := os.ReadDir(all[i])
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				all = append(all, filepath.Join(all[i], e.Name()))
			}
		}
	}
	return all
}

// removeAll removes a directory of groups, but for groups that have processes.
func removeAll(dir string) {
	all := below(dir)
	for i := len(all) - 1; i >= 0; i-- {
		_ = os.Remove(all[i])
	}
}

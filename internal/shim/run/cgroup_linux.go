package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// cgroup is the place of a sandbox in the hierarchies of the host: one directory
// in cgroup v2, one for each controller of v1, or both kinds on a hybrid host. Where
// the user may make none there are none, and nothing can be limited.
type cgroup struct {
	unified string            // "" if there is none
	v1      map[string]string // by controller
	home    map[string]string // where this process is, for each of v1
	enabled []string          // the controllers of unified
}

// The controllers that limits need.
var controllers = map[string]string{"memory": "memory", "cpus": "cpu", "pids": "pids"}

// openCgroup makes the cgroups of a sandbox, as far as the host lets it.
func openCgroup(id string) *cgroup {
	g := &cgroup{v1: make(map[string]string), home: make(map[string]string)}
	name := "sandbox-agent." + id
	mounts, own := hierarchies()
	if mount, ok := mounts[""]; ok {
		g.openUnified(mount, own[""], name)
	}
	for _, controller := range []string{"freezer", "memory", "cpu", "pids"} {
		mount, ok := mounts[controller]
		if !ok {
			continue
		}
		home := filepath.Join(mount, own[controller])
		if unix.Access(filepath.Join(home, "tasks"), unix.W_OK) != nil {
			continue // a thread that left could not come back
		}
		dir := filepath.Join(home, name)
		if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, os.ErrExist) {
			g.v1[controller], g.home[controller] = dir, home
		}
	}
	return g
}

// openUnified makes a cgroup in v2. It is below the nearest ancestor that gives
// controllers to its children: a cgroup that has processes itself, as ours has,
// cannot be made to.
func (g *cgroup) openUnified(mount, own, name string) {
	for at := own; ; at = filepath.Dir(at) {
		parent := filepath.Join(mount, at)
		given := fields(filepath.Join(parent, "cgroup.subtree_control"))
		for _, controller := range []string{"memory", "cpu", "pids"} {
			if !slices.Contains(given, controller) {
				_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, os.ErrExist) {
			enabled := fields(filepath.Join(dir, "cgroup.controllers"))
			if slices.Contains(enabled, "memory") || at == "/" {
				g.unified, g.enabled = dir, enabled
				return
			}
			_ = os.Remove(dir)
		}
		if at == "/" || at == "." {
			break
		}
	}
	// Without controllers it still freezes and kills.
	dir := filepath.Join(mount, own, name)
	if os.Mkdir(dir, 0o755) == nil {
		g.unified = dir
	}
}

// hierarchies returns where the hierarchies are mounted and where this process is
// in each, by controller; v2 is "".
func hierarchies() (mounts, own map[string]string) {
	mounts, own = make(map[string]string), make(map[string]string)
	data, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 5 || len(tail) < 3 || head[3] != "/" {
			continue
		}
		switch tail[0] {
		case "cgroup2":
			mounts[""] = head[4]
		case "cgroup":
			for option := range strings.SplitSeq(tail[2], ",") {
				mounts[option] = head[4]
			}
		}
	}
	data, _ = os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			own[controller] = parts[2]
		}
	}
	return mounts, own
}

func fields(name string) []string {
	data, _ := os.ReadFile(name)
	return strings.Fields(string(data))
}

func (g *cgroup) dirs() []string {
	var dirs []string
	if g.unified != "" {
		dirs = append(dirs, g.unified)
	}
	for _, dir := range g.v1 {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

// pause returns how a pause is done, as in [provider.Capabilities].
func (g *cgroup) pause() string {
	if g.unified != "" || g.v1["freezer"] != "" {
		return "freezer"
	}
	return "signals"
}

// limits returns the resources that can be limited.
func (g *cgroup) limits() []string {
	limits := []string{}
	for _, resource := range []string{"memory", "cpus", "pids"} {
		if slices.Contains(g.enabled, controllers[resource]) || g.v1[controllers[resource]] != "" {
			limits = append(limits, resource)
		}
	}
	return limits
}

// period is that of the processor time, in microseconds.
const period = 100_000

// limit sets the limits that r has; they are among those of limits.
func (g *cgroup) limit(r provider.Resources) error {
	quota := strconv.FormatInt(int64(r.CPUs*period), 10)
	for _, limit := range []struct {
		set                bool
		controller         string
		v2, v2Value        string
		v1, v1Value        string
		optional, optValue string // of v2
	}{
		{r.Memory > 0, "memory", "memory.max", fmt.Sprint(r.Memory), "memory.limit_in_bytes", fmt.Sprint(r.Memory), "memory.swap.max", "0"},
		{r.CPUs > 0, "cpu", "cpu.max", fmt.Sprint(quota, " ", period), "cpu.cfs_quota_us", quota, "", ""},
		{r.PIDs > 0, "pids", "pids.max", fmt.Sprint(r.PIDs), "pids.max", fmt.Sprint(r.PIDs), "", ""},
	} {
		if !limit.set {
			continue
		}
		file, value := filepath.Join(g.unified, limit.v2), limit.v2Value
		if dir := g.v1[limit.controller]; dir != "" {
			file, value = filepath.Join(dir, limit.v1), limit.v1Value
		} else if limit.optional != "" {
			_ = os.WriteFile(filepath.Join(g.unified, limit.optional), []byte(limit.optValue), 0) // a kernel without swap accounting has none
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("limit sandbox: %w", err)
		}
	}
	return nil
}

// start starts a process in the cgroups, so that nothing of it is ever outside. To move
// one that runs, the kernel waits for all processors. It does not for a thread that
// moves itself, which v1 allows and which its children inherit, nor for a process that
// v2 makes in its place.
func (g *cgroup) start(spec child.Spec) (started *child.Child, err error) {
	sys := new(syscall.SysProcAttr)
	if spec.Sys != nil {
		*sys = *spec.Sys
	}
	spec.Sys = sys
	if g.unified != "" {
		dir, err := os.Open(g.unified)
		if err != nil {
			return nil, fmt.Errorf("open cgroup: %w", err)
		}
		defer dir.Close()
		sys.UseCgroupFD, sys.CgroupFD = true, int(dir.Fd())
	}
	runtime.LockOSThread()
	err = moveThread(g.v1)
	if err == nil {
		started, err = child.Start(spec)
	}
	if moveErr := moveThread(g.home); moveErr != nil { // and the thread stays locked
		if started != nil {
			moveErr = errors.Join(moveErr, started.Stop(0))
		}
		return nil, errors.Join(err, moveErr)
	}
	runtime.UnlockOSThread()
	return started, err
}

// moveThread moves the calling thread into cgroups of v1.
func moveThread(dirs map[string]string) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
			return fmt.Errorf("put thread into cgroup: %w", err)
		}
	}
	return nil
}

// freezeWait bounds the wait for the kernel to freeze or thaw.
const freezeWait = 10 * time.Second

// freeze stops or continues all that is in the cgroups, and returns when it has.
func (g *cgroup) freeze(frozen bool) error {
	file, value, see, want := filepath.Join(g.unified, "cgroup.freeze"), "0", filepath.Join(g.unified, "cgroup.events"), "frozen 0"
	if frozen {
		value, want = "1", "frozen 1"
	}
	if g.unified == "" {
		file = filepath.Join(g.v1["freezer"], "freezer.state")
		if value, see = "THAWED", file; frozen {
			value = "FROZEN"
		}
		want = value
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("freeze sandbox: %w", err)
	}
	deadline := time.Now().Add(freezeWait)
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		data, err := os.ReadFile(see)
		if err != nil {
			return fmt.Errorf("freeze sandbox: %w", err)
		}
		if strings.Contains(string(data), want) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("freeze sandbox: the kernel did not finish within %v", freezeWait)
		}
		time.Sleep(wait)
	}
}

// kill ends all that is in the cgroups, if there are any.
func (g *cgroup) kill() {
	for _, dir := range g.dirs() {
		shim.KillCgroup(dir)
	}
}

// empty kills until nothing is in the cgroups any more.
func (g *cgroup) empty() {
	deadline := time.Now().Add(freezeWait)
	for _, dir := range g.dirs() {
		for len(shim.CgroupPIDs(dir)) > 0 && time.Now().Before(deadline) {
			shim.KillCgroup(dir)
			time.Sleep(time.Millisecond)
		}
	}
}

func (g *cgroup) remove() {
	for _, dir := range g.dirs() {
		shim.RemoveCgroup(dir)
	}
}

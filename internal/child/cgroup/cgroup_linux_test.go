package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func TestParseMount(t *testing.T) {
	for line, want := range map[string]mount{
		"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate":      {"/", "/sys/fs/cgroup", true},
		"36 32 0:31 /docker/x /sys/fs/cgroup/freezer ro master:17 - cgroup cgroup rw,freezer": {"/docker/x", "/sys/fs/cgroup/freezer", false},
		"36 32 0:31 / /mnt/with\\040blank rw - cgroup none rw,devices,freezer":                {"/", "/mnt/with blank", false},
		"36 32 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids":                         {},
		"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw":                             {},
		"nonsense": {},
		"":         {},
	} {
		got, ok := parseMount(line)
		if ok != (want != mount{}) || ok && got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
}

func TestGroupIn(t *testing.T) {
	const hybrid = "9:name=systemd:/s\n8:pids:/p\n6:cpu,freezer:/a:b\n0::/u\n"
	for _, tt := range []struct {
		groups  string
		unified bool
		want    string
	}{
		{hybrid, true, "/u"}, {hybrid, false, "/a:b"}, {"0::/x\n", false, ""}, {"6:freezer:/x\n", true, ""}, {"", true, ""}, {"0:\n", true, ""},
	} {
		if got, ok := groupIn(tt.groups, tt.unified); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q, %v: %q, %v", tt.groups, tt.unified, got, ok)
		}
	}
}

// roots returns a root in each hierarchy in which this test may make one; an ordinary
// user has none.
func roots(t *testing.T) (all []*Root) {
	t.Helper()
	for _, h := range hierarchies() {
		r, err := h.open()
		if err != nil {
			if os.Getuid() == 0 {
				t.Error(err)
			}
			continue
		}
		t.Cleanup(func() {
			r.Close()
			if _, err := os.Stat(r.dir); err == nil {
				t.Errorf("%s is left", r.dir)
			}
		})
		all = append(all, r)
	}
	return all
}

// start starts a shell in a group, which forks and makes sessions of its own.
func start(t *testing.T, g *Group) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read -r line; (setsid sleep 1000 &); setsid sleep 1000 & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if fd, ok := g.Descriptor(); ok {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.Add(cmd.Process.Pid)
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// await waits for a condition.
var await = testkit.Await

func TestGroupHoldsWhatLeavesItsSession(t *testing.T) {
	for _, r := range roots(t) {
		t.Run(fmt.Sprintf("unified %v", r.unified), func(t *testing.T) {
			for range 3 { // the second and third time in what the first one has left
				g := r.New()
				if g == nil {
					t.Fatal("no group")
				}
				cmd := start(t, g)
				await(t, "three processes", func() bool { return len(g.PIDs()) >= 3 })
				pids := g.PIDs()
				if !slices.Contains(pids, cmd.Process.Pid) || g.Empty() {
					t.Errorf("group of %d has %v", cmd.Process.Pid, pids)
				}
				g.Freeze()
				g.AwaitFrozen()
				g.Thaw()
				g.Signal(syscall.SIGKILL)
				cmd.Wait()
				await(t, "the group to be empty", g.Empty)
				g.Release()
			}
		})
	}
}

// A group that is given back is for the next child, and does not stand still.
func TestGroupsAreUsedAgain(t *testing.T) {
	for _, r := range roots(t) {
		for range 3 {
			g := r.New()
			g.Freeze()
			g.Release()
			cmd := exec.Command("true")
			next := r.New()
			if next.dir != g.dir {
				t.Errorf("the next group is %s after %s", next.dir, g.dir)
			}
			if fd, ok := next.Descriptor(); ok {
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
			}
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
			next.Release()
		}
	}
}

func TestRemoveTakesGroupsOfOneThatIsGone(t *testing.T) {
	for _, h := range hierarchies() {
		if os.Getuid() != 0 {
			break
		}
		gone := exec.Command("true")
		if err := gone.Run(); err != nil {
			t.Fatal(err)
		}
		dir := fmt.Sprintf("%s/%s%d/1/nested", h.dir, prefix, gone.Process.Pid)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if !Remove(gone.Process.Pid) {
			t.Error("something is left")
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestNoGroupIsAnEmptyOne(t *testing.T) {
	var r *Root
	g := r.New()
	g.Add(1)
	g.Freeze()
	g.AwaitFrozen()
	g.Thaw()
	g.Signal(syscall.SIGKILL)
	g.Release()
	r.Close()
	if _, ok := g.Descriptor(); ok || !g.Empty() || len(g.PIDs()) > 0 || !strings.Contains(prefix, "sandbox-agent") {
		t.Error("there is something in it")
	}
}

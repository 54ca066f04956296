package bubblewrap_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

// What a sandbox must not be able to do, from inside, in every mode of the network.

func TestEscapeUnprivileged(t *testing.T) {
	needBwrap(t)
	providertest.RunUnprivileged(t, "^TestEscape$")
}

func TestEscape(t *testing.T) {
	needBwrap(t)
	for _, network := range []provider.Network{provider.NetworkNone, provider.NetworkModel} {
		t.Run("network "+string(network), func(t *testing.T) { escapes(t, network) })
	}
	t.Run("have git on the host run a program", gitOnHost)
}

// escapes tries what depends on the network, and what must not.
func escapes(t *testing.T, network provider.Network) {
	e := newEscape(t, network)
	t.Run("reach the network of the host", e.network)
	t.Run("open sockets that no namespace contains", e.sockets)
	t.Run("read the host", e.files)
	t.Run("see or signal processes of the host", e.processes)
	t.Run("reach another sandbox", e.otherSandbox)
	t.Run("use refused system calls", e.calls)
	t.Run("leave a set-id file on the host", e.setID)
	t.Run("call by another architecture", e.foreign)
	t.Run("use a descriptor of the creator", e.descriptors)
}

type escape struct {
	p    providertest.Provider
	i    *provider.Instance
	work string // the bound workspace
}

func newEscape(t *testing.T, network provider.Network) *escape {
	state := providertest.TempDir(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := &escape{p: config.New(state, exe), work: providertest.TempDir(t)}
	e.i = providertest.Create(t, e.p, provider.Spec{Workspace: provider.Workspace{Dir: e.work}, Network: network})
	return e
}

// run runs a program in the sandbox.
func (e *escape) run(t *testing.T, args ...string) *api.ProcessRunResult {
	t.Helper()
	result, err := e.p.Exec(providertest.Context(t), e.i.ID, api.ProcessRunRequest{Command: args[0], Args: args[1:]})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// blocked checks that a probe does not get through; how it is kept from that begins
// with want, which may be empty. Wrapper is a program that runs it.
func (e *escape) blocked(t *testing.T, want string, args []string, wrapper ...string) {
	t.Helper()
	result := e.run(t, append(append(wrapper, "/opt/sandbox-agent/sandbox-agent", "probe"), args...)...)
	switch {
	case result.ExitCode == nil || *result.ExitCode != 7:
		t.Errorf("%q got through, or did not run: %+v", args, result)
	case !strings.HasPrefix(result.Stdout, want):
		t.Errorf("%q was kept from it by %q, not by %s", args, result.Stdout, want)
	}
}

func (e *escape) network(t *testing.T) {
	serve := func(network, address string) string {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	loopback := serve("tcp", "127.0.0.1:0")
	_, everywhere, err := net.SplitHostPort(serve("tcp", "0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{"a server on the loopback": loopback, "the metadata address": "169.254.169.254:80",
		"a listener on all addresses": "127.0.0.1:" + everywhere, "the same by 0.0.0.0": "0.0.0.0:" + everywhere}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && !network.IP.IsLoopback() {
			targets["the address "+network.IP.String()+" of the host"] = net.JoinHostPort(network.IP.String(), everywhere)
		}
	}
	for name, address := range targets {
		t.Run(name, func(t *testing.T) { e.blocked(t, "", []string{"dial", "tcp", address}) })
	}
	abstract := serve("unix", fmt.Sprintf("@sandbox-agent-test-%d", os.Getpid()))
	e.blocked(t, "ECONNREFUSED", []string{"dial", "unix", abstract})
	path := filepath.Join(providertest.TempDir(t), "socket")
	serve("unix", path)
	e.blocked(t, "ENOENT", []string{"dial", "unix", path})
	if got := e.run(t, "sh", "-c", "ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1").Stdout; strings.TrimSpace(got) != "lo" {
		t.Errorf("interfaces: %q", got)
	}
}

func (e *escape) sockets(t *testing.T) {
	number := func(n uint64) string { return fmt.Sprint(n) }
	for name, test := range map[string]struct {
		family, kind uint64
		nested       bool // also refused to root of a user namespace of its own
	}{
		"raw":                   {unix.AF_INET, unix.SOCK_RAW, false},
		"raw IPv6":              {unix.AF_INET6, unix.SOCK_RAW, false},
		"vsock":                 {unix.AF_VSOCK, unix.SOCK_STREAM, true},
		"vsock with a high bit": {unix.AF_VSOCK | 1<<32, unix.SOCK_STREAM, true},
		"packet":                {unix.AF_PACKET, unix.SOCK_RAW, true},
		"packet, datagrams":     {unix.AF_PACKET, unix.SOCK_DGRAM, true},
		"crypto":                {unix.AF_ALG, unix.SOCK_SEQPACKET, true},
	} {
		args := []string{"socket", number(test.family), number(test.kind)}
		t.Run(name, func(t *testing.T) {
			e.blocked(t, "EPERM", args)
			if test.nested {
				e.blocked(t, "EPERM", args, "unshare", "-Urn")
			}
		})
	}
}

func (e *escape) files(t *testing.T) {
	secret := filepath.Join(providertest.TempDir(t), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{
		"cat " + secret, "ls -d " + home, "ls -d " + filepath.Dir(e.work) + "/sandbox*", "ls /root/.ssh",
		"cat /etc/shadow", "cat /proc/1/root" + secret, "ls /sys/kernel",
		"echo x >/proc/sys/kernel/core_pattern", "echo 1 >/proc/sysrq-trigger", "cat /proc/kcore", "dd if=/dev/mem count=1",
		"echo x >/usr/x", "echo x >/etc/passwd", "echo x >/x", "echo x >>/opt/sandbox-agent/sandbox-agent",
		"mount -o remount,rw /usr", "umount /workspace/.git", "unshare -Ur mount -o remount,rw,bind /usr", "unshare -Urm umount /usr",
		"unshare -Urm mount -o remount,rw,bind /workspace/.git", "mknod d c 1 1", "unshare -Ur mknod d c 1 1",
	} {
		if result := e.run(t, "sh", "-c", script); result.ExitCode == nil || *result.ExitCode == 0 {
			t.Errorf("%s: %+v", script, result)
		}
	}
	if got := e.run(t, "sh", "-c", "grep -c . /etc/passwd; env").Stdout; !strings.HasPrefix(got, "3\n") || strings.Contains(got, home) {
		t.Errorf("passwd and environment: %s", got)
	}
}

func (e *escape) processes(t *testing.T) {
	t.Setenv("ESCAPE_MARKER", "of the host")
	marker := exec.Command("sleep", "98765")
	if err := marker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		marker.Process.Kill()
		marker.Wait()
	}()
	got := e.run(t, "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").Stdout
	for _, text := range []string{"98765", "ESCAPE_MARKER", e.work, string(e.i.Token)} {
		if strings.Contains(got, text) {
			t.Errorf("%q of the host is seen", text)
		}
	}
	e.blocked(t, "ESRCH", []string{"kill", fmt.Sprint(marker.Process.Pid)})
	if result := e.run(t, "sh", "-c", "grep -h -e ^CapEff -e ^CapBnd -e ^NoNewPrivs -e ^Seccomp: /proc/self/status | tr -d '\\t\\n'"); result.Stdout !=
		"CapEff:0000000000000000CapBnd:0000000000000000NoNewPrivs:1Seccomp:2" {
		t.Errorf("status: %s", result.Stdout)
	}
}

func (e *escape) otherSandbox(t *testing.T) {
	other := providertest.Create(t, e.p, provider.Spec{Files: []provider.File{{Path: "secret", Content: []byte("x")}}})
	for _, script := range []string{
		"ls -d /tmp/*/sandboxes/" + other.ID, "find / -xdev -name secret 2>/dev/null | grep .", "find / -name '*" + other.ID + "*' 2>/dev/null | grep .",
	} {
		if result := e.run(t, "sh", "-c", script); result.ExitCode == nil || *result.ExitCode == 0 {
			t.Errorf("%s: %+v", script, result)
		}
	}
	const listener = "/opt/sandbox-agent/sandbox-agent probe internet :8099"
	providertest.Shell(t, e.p, other.ID, "setsid "+listener+" >/dev/null 2>&1 &")
	providertest.Wait(t, "the other sandbox listens", func() bool {
		return *providertest.Shell(t, e.p, other.ID, "/opt/sandbox-agent/sandbox-agent probe reach tcp 127.0.0.1:8099").ExitCode == 0
	})
	for _, address := range []string{"127.0.0.1:8099", "[::1]:8099", "0.0.0.0:8099"} {
		e.blocked(t, "", []string{"reach", "tcp", address})
		e.blocked(t, "", []string{"reach", "udp", address})
	}
	if network := e.i.Spec.Network; network != provider.NetworkNone {
		// Nobody in the sandbox has a right over its network.
		for _, script := range []string{"ip link set lo down", "ip route flush table local", "ip addr add 10.0.0.1/32 dev lo"} {
			if result := e.run(t, "unshare", "-Ur", "sh", "-c", script); result.ExitCode == nil || *result.ExitCode == 0 {
				t.Errorf("%s: %+v", script, result)
			}
		}
	}
}

func (e *escape) calls(t *testing.T) {
	for name, number := range map[string]int{
		"io_uring_setup": unix.SYS_IO_URING_SETUP, "keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "request_key": unix.SYS_REQUEST_KEY,
		"bpf": unix.SYS_BPF, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
	} {
		t.Run(name, func(t *testing.T) { e.blocked(t, "EPERM", []string{"call", fmt.Sprint(number)}) })
	}
	e.blocked(t, "EPERM", []string{"stuff-terminal"})
}

func (e *escape) setID(t *testing.T) {
	ways := append([]string{"fchmod", "fchmod with a high bit", "fchmodat", "fchmodat2", "openat", "openat with high bits",
		"temporary file", "mkdirat", "mknodat"}, legacyWays...)
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			e.blocked(t, "EPERM", []string{"set-id", way})
			e.blocked(t, "EPERM", []string{"set-id", way}, "unshare", "-Ur")
		})
	}
	e.blocked(t, "ENOSYS", []string{"set-id", "openat2"})
	e.blocked(t, "ENOTSUP", []string{"file-capability"}, "unshare", "-Ur")
	// What programs do every day goes on.
	if result := e.run(t, "sh", "-c", "mkdir -p d && umask 022 && echo x >d/f && chmod 755 d/f && cp -a d e && tar -cf - d | tar -xf - -C e && python3 -c 'import os; os.chmod(\"d/f\", 0o640)'"); result.ExitCode == nil || *result.ExitCode != 0 {
		t.Errorf("ordinary changes: %+v", result)
	}
	err := filepath.WalkDir(e.work, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s is %v on the host", name, info.Mode())
		}
		if n, err := unix.Lgetxattr(name, "security.capability", nil); err == nil {
			t.Errorf("%s has capabilities of %d bytes on the host", name, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func (e *escape) foreign(t *testing.T) {
	n := 0
	for name, program := range foreignPrograms() {
		file := fmt.Sprintf("foreign-%d", n)
		n++
		if err := os.WriteFile(filepath.Join(e.work, file), program, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			result := e.run(t, "./"+file)
			if result.ExitSignal != "SIGSYS" {
				t.Errorf("got %+v", result)
			}
		})
	}
}

func (e *escape) descriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETFD, 0); err != nil { // as a shell leaves one open
		t.Fatal(err)
	}
	pipe, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	other := providertest.Create(t, e.p, provider.Spec{})
	result := providertest.Shell(t, e.p, other.ID, "readlink /proc/[0-9]*/fd/*")
	if strings.Contains(result.Stdout, pipe) || !strings.Contains(result.Stdout, "pipe:") {
		t.Errorf("descriptors: %s", result.Stdout)
	}
}

// gitOnHost looks for a program that git runs on the host after a sandbox had the
// directory.
func gitOnHost(t *testing.T) {
	marker := filepath.Join(providertest.TempDir(t), "ran")
	hostGit := func(t *testing.T, dir string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+filepath.Dir(marker))
		if out, err := cmd.CombinedOutput(); err != nil && args[0] != "status" {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	plant := `printf '[core]\n\trepositoryformatversion = 0\n\tfsmonitor = "touch ` + marker + `; false"\n\thooksPath = /workspace/evil\n' >`
	hook := `printf '#!/bin/sh\ntouch ` + marker + `\n' >`
	for name, test := range map[string]struct {
		prepare func(t *testing.T, work string)
		script  string
	}{
		"its configuration": {func(t *testing.T, work string) { hostGit(t, work, "init") }, plant + ".git/config; " + plant + ".git/config.worktree"},
		"a moved .git": {func(t *testing.T, work string) { hostGit(t, work, "init") },
			"mv .git old; mkdir .git; cp -r old/. .git; " + plant + ".git/config"},
		"a removed .git": {func(t *testing.T, work string) { hostGit(t, work, "init") }, "rm -rf .git; git init; " + plant + ".git/config"},
		"a common directory": {func(t *testing.T, work string) { hostGit(t, work, "init") },
			"cp -r .git evil; " + plant + "evil/config; echo ../evil >.git/commondir"},
		"a .git where there was none": {func(*testing.T, string) {},
			"git init; mkdir -p .git/objects .git/refs; echo ref: refs/heads/main >.git/HEAD; " + plant + ".git/config"},
		"a .git file where there was none": {func(*testing.T, string) {}, "git init evil; " + plant + "evil/.git/config; rmdir .git; echo gitdir: evil/.git >.git"},
		"a hook of a hooks directory": {func(t *testing.T, work string) {
			hostGit(t, work, "init")
			if err := os.MkdirAll(filepath.Join(work, ".hooks", "deep"), 0o755); err != nil {
				t.Fatal(err)
			}
			hostGit(t, work, "config", "core.hooksPath", ".hooks/deep")
			hostGit(t, work, "add", "file") // so that status writes the index, and calls the hook
		}, hook + ".hooks/deep/post-index-change; chmod 755 .hooks/deep/*; mv .hooks x; mkdir -p .hooks/deep; " + hook + ".hooks/deep/post-index-change; chmod 755 .hooks/deep/*"},
		"an included configuration": {func(t *testing.T, work string) {
			hostGit(t, work, "init")
			if err := os.WriteFile(filepath.Join(work, "shared.config"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			hostGit(t, work, "config", "include.path", "../shared.config")
		}, plant + "shared.config"},
		"a git directory that a file names": {func(t *testing.T, work string) {
			if err := os.Mkdir(filepath.Join(work, "meta"), 0o755); err != nil {
				t.Fatal(err)
			}
			hostGit(t, work, "init", "--separate-git-dir", filepath.Join(work, "meta", "git"))
		}, plant + "meta/git/config; mv meta old; mkdir -p meta; cp -r old/git meta/git; " + plant + "meta/git/config"},
	} {
		t.Run(name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			p := config.New(providertest.TempDir(t), exe)
			work := providertest.TempDir(t)
			if err := os.WriteFile(filepath.Join(work, "file"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
			test.prepare(t, work)
			i := providertest.Create(t, p, provider.Spec{Workspace: provider.Workspace{Dir: work}})
			providertest.Shell(t, p, i.ID, test.script+"; touch file; chmod 755 file")
			hostGit(t, work, "status")
			hostGit(t, work, "status", "--porcelain", "--ignored")
			if err := p.Destroy(providertest.Context(t), i.ID); err != nil {
				t.Fatal(err)
			}
			hostGit(t, work, "status")
			if _, err := os.Stat(marker); err == nil {
				t.Error("git on the host ran a program of the sandbox")
				os.Remove(marker)
			}
		})
	}
}

package run

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// bubblewrap runs the server in namespaces of its own, which the program bwrap
// makes. It is always a user without privileges on the host, has no capabilities,
// and sees of the host what arguments lists.
type bubblewrap struct{}

// What the sandbox looks like inside.
const (
	insideUID   = 1000
	insideHome  = "/home/agent"
	insideExe   = "/opt/sandbox-agent/sandbox-agent"
	insideStore = "/opt/sandbox-agent/store"
	insideWork  = "/workspace"
	insidePath  = "/opt/sandbox-agent:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// etcFiles are what programs need of /etc of the host: the linker, certificates, the
// time zone, and the alternatives that links of /usr lead to. The rest is generated
// or absent.
var etcFiles = []string{
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives",
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "pki/ca-trust", "pki/tls/certs", "crypto-policies",
	"localtime", "timezone", "protocols", "services", "mime.types",
}

// links are the directories that are links into /usr where they are not directories.
var links = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

func (bubblewrap) capabilities(b *box) provider.Capabilities {
	return provider.Capabilities{
		Isolation:  "namespaces",
		Pause:      b.groups.pause(),
		Limits:     b.groups.limits(),
		Workspaces: []provider.WorkspaceMode{provider.WorkspaceBind, provider.WorkspaceCopy, provider.WorkspaceEmpty},
		Networks:   networkModes(),
	}
}

func (bubblewrap) prepare(b *box) error {
	if b.record.Spec.Image != "" {
		return provider.Unsupported("the provider bubblewrap runs no images; give a directory with root, or leave it out")
	}
	if err := b.checkWorkspace(); err != nil {
		return err
	}
	if store := b.record.Store; store != "" {
		if err := makeStore(store); err != nil {
			return err
		}
	}
	b.status.WorkDir = insideWork
	if err := b.writeEtc(); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(string(b.dir), "tmp")); err != nil {
		return err
	}
	if err := b.makeDirs(shim.UID(b.dir.ID()), "home", "workspace", "tmp"); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(string(b.dir), "tmp"), 0o777|os.ModeSticky)
}

// makeStore makes an empty store where there is none, so that agents are seen that
// are installed later.
func makeStore(store string) error {
	if err := os.MkdirAll(filepath.Dir(store), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(store, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (bubblewrap) listen(b *box) (*os.File, error) { return listenUnix(b) }

// writeEtc makes the files of /etc that are the sandbox's own.
func (b *box) writeEtc() error {
	dir := filepath.Join(string(b.dir), "etc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	shell := "/bin/sh"
	if _, err := os.Stat(filepath.Join("/", b.record.Spec.Root, "usr/bin/bash")); err == nil {
		shell = "/bin/bash"
	}
	for name, content := range map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:%d:%d:agent:%s:%s\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
			insideUID, insideUID, insideHome, shell),
		"group":         fmt.Sprintf("root:x:0:\nagent:x:%d:\nnogroup:x:65534:\n", insideUID),
		"hosts":         "127.0.0.1 localhost " + b.hostname() + "\n::1 localhost ip6-localhost\n",
		"hostname":      b.hostname() + "\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *box) hostname() string {
	if name := b.record.Spec.Name; name != "" {
		return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	}
	return "sandbox-" + b.dir.ID()
}

// launch starts bwrap on a thread of its own, which lives as long as the sandbox:
// the sandbox ends with it.
func (bubblewrap) launch(b *box, args []string, files []*os.File) (*child.Child, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, api.NewError(api.KindNotSupported, api.CodeProviderUnavailable, "the program bwrap is not installed: %w; install the package bubblewrap", err)
	}
	mode := b.record.Spec.Network
	if mode == "" {
		mode = provider.NetworkNone
	}
	net, err := networks[mode](b)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", mode, err)
	}
	l := &launch{box: b, bwrap: bwrap, net: net, uid: shim.UID(b.dir.ID())}
	args = append(args, "--no-parent") // the first process of the sandbox is one
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: what it enters it does not leave
		server, err := l.start(args, files)
		l.server = server
		started <- err
		if err == nil {
			<-server.Done()
		}
		if net.close != nil {
			net.close()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return l.server, nil
}

// launch is one start of bwrap.
type launch struct {
	box    *box
	bwrap  string
	net    network
	uid    int    // on the host
	exe    string // the program sandbox-agent, as bwrap sees it
	server *child.Child
}

// start runs on a locked thread.
func (l *launch) start(args []string, files []*os.File) (*child.Child, error) {
	sources, options, err := l.mounts()
	if err != nil {
		return nil, err
	}
	sys := new(syscall.SysProcAttr)
	if l.uid != os.Geteuid() {
		if err := enterStage(sources, l.uid); err != nil {
			return nil, fmt.Errorf("prepare mounts: %w", err)
		}
		sys.Credential = &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.uid), Groups: []uint32{}}
	}
	return l.exec(options, args, files, sys)
}

// exec starts bwrap.
func (l *launch) exec(options, args []string, files []*os.File, sys *syscall.SysProcAttr) (*child.Child, error) {
	theirs := &inherited{files: slices.Clone(files)}
	defer theirs.close(len(files))
	seccomp, err := filterFile()
	if err != nil {
		return nil, err
	}
	options = append(options, "--seccomp", theirs.add(seccomp))
	// In memory: what is in the arguments can be read in the sandbox, and names
	// paths of the host.
	list, err := memoryFile("args", []byte(strings.Join(options, "\x00")+"\x00"))
	if err != nil {
		return nil, err
	}
	start := child.Spec{
		Path: l.bwrap, Args: append([]string{"--args", theirs.add(list), "--", insideExe}, args...),
		Dir: "/", Env: l.environment(), Stdin: true, Contained: true, Files: theirs.files, Sys: sys,
	}
	return l.startInNetwork(start, theirs)
}

// startInNetwork starts bwrap in the network namespace of the mode, if that has one.
func (l *launch) startInNetwork(start child.Spec, theirs *inherited) (*child.Child, error) {
	if l.net.namespace == nil {
		return l.box.groups.start(start)
	}
	from, err := l.net.namespace.enter(&start, theirs, l.exe, l.uid)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	server, err := startWithUsers(l.box.groups, start)
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	theirs.files[len(theirs.files)-1].Close() // so that its end is seen
	sockets, err := receiveSockets(from)
	if err == nil {
		err = l.net.serve(sockets)
		sockets.close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make network namespace: %w", err), l.abandon(server))
	}
	return server, nil
}

// abandon ends a server that is of no use. What it has written goes to the log.
func (l *launch) abandon(server *child.Child) error {
	err := server.Stop(0)
	for _, out := range []io.Reader{server.Stdout, server.Stderr} {
		_, _ = io.Copy(l.box.log, out) // which takes everything
	}
	return err
}

// inherited are the files that a child gets from descriptor 3 on.
type inherited struct{ files []*os.File }

// add returns the descriptor that file has in the child.
func (i *inherited) add(file *os.File) string {
	i.files = append(i.files, file)
	return fmt.Sprint(2 + len(i.files))
}

// close closes the files but the first ones, which belong to others.
func (i *inherited) close(keep int) {
	for _, file := range i.files[keep:] {
		file.Close()
	}
}

func (l *launch) environment() []string {
	spec := l.box.record.Spec
	env := map[string]string{
		"PATH": insidePath, "HOME": insideHome, "USER": "agent", "LOGNAME": "agent", "LANG": "C.UTF-8", "SHELL": "/bin/sh",
	}
	if l.box.record.Store != "" {
		env[api.EnvAgentStore] = insideStore
	}
	maps.Copy(env, l.net.env)
	maps.Copy(env, spec.Env)
	list := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		list = append(list, key+"="+env[key])
	}
	return list
}

// mounts returns what of the host is mounted, and the options of bwrap.
func (l *launch) mounts() ([]source, []string, error) {
	b := l.box
	spec := b.record.Spec
	staged := l.uid != os.Geteuid()
	var sources []source
	at := func(name, path string) string {
		if !staged {
			return path
		}
		sources = append(sources, source{name, path, -1, -1})
		return filepath.Join(stage, name)
	}
	own := func(name string) string { return at(name, filepath.Join(string(b.dir), name)) }

	root := "/"
	if spec.Root != "" {
		root = at("root", spec.Root)
	}
	options := []string{
		"--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try",
		"--die-with-parent", "--uid", fmt.Sprint(insideUID), "--gid", fmt.Sprint(insideUID), "--hostname", b.hostname(),
	}
	options = append(options, l.net.args...)
	if spec.Strict {
		options = append(options, "--disable-userns")
	}
	for _, dir := range []string{"/etc", "/opt", "/home"} {
		options = append(options, "--perms", "0755", "--dir", dir)
	}
	options = append(options, systemMounts(cmp.Or(spec.Root, "/"), root)...)
	etc := own("etc")
	for _, name := range []string{"passwd", "group", "hosts", "hostname", "nsswitch.conf"} {
		options = append(options, "--ro-bind", filepath.Join(etc, name), "/etc/"+name)
	}
	l.exe = at("sandbox-agent", b.opts.Exe)
	options = append(options,
		"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--dir", "/var", "--symlink", "../run", "/var/run", "--symlink", "../tmp", "/var/tmp",
		"--bind", own("tmp"), "/tmp", "--bind", own("home"), insideHome,
		"--ro-bind", l.exe, insideExe,
	)
	if b.record.Store != "" {
		options = append(options, "--ro-bind", at("store", b.record.Store), insideStore)
	}
	if spec.Workspace.Mode == provider.WorkspaceBind {
		work := spec.Workspace.Dir
		protected, placeholder, err := protectGit(work)
		if err != nil {
			return nil, nil, err
		}
		b.status.Placeholder = placeholder
		if staged {
			uid, gid, err := ownerOf(work)
			if err != nil {
				return nil, nil, err
			}
			sources = append(sources, source{"workspace", work, uid, gid})
			work = filepath.Join(stage, "workspace")
		}
		options = append(options, "--bind", work, insideWork)
		for _, name := range protected {
			options = append(options, "--ro-bind", filepath.Join(work, name), filepath.Join(insideWork, name))
		}
	} else {
		options = append(options, "--bind", own("workspace"), insideWork)
	}
	return sources, append(options, "--remount-ro", "/", "--chdir", insideWork), nil
}

// systemMounts returns the options for the programs and libraries below a root file
// system, which is at seen for the shim and at mounted for bwrap.
func systemMounts(seen, mounted string) []string {
	options := []string{"--ro-bind", filepath.Join(mounted, "usr"), "/usr"}
	for _, name := range links {
		target, err := os.Readlink(filepath.Join(seen, name))
		switch {
		case err == nil:
			options = append(options, "--symlink", target, "/"+name)
		case errors.Is(err, fs.ErrNotExist):
		default: // a directory, as in systems that keep them apart
			options = append(options, "--ro-bind", filepath.Join(mounted, name), "/"+name)
		}
	}
	for _, name := range etcFiles {
		file := filepath.Join("etc", name)
		target, err := os.Readlink(filepath.Join(seen, file))
		if err == nil {
			options = append(options, "--symlink", target, "/"+file)
		} else if _, err := os.Lstat(filepath.Join(seen, file)); err == nil {
			options = append(options, "--ro-bind", filepath.Join(mounted, file), "/"+file)
		}
	}
	return options
}

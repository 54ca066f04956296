package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/child"
)

// The network namespace of a sandbox belongs to a user namespace above that of the
// sandbox, so that nobody in there has a right over it. A program of ours is started
// in both, makes what the mode needs, passes the sockets to the shim, and becomes
// bwrap. The sockets stay in the namespace, whichever process accepts from them.

// A namespace is what [EnterNetwork] makes.
type namespace struct {
	Open *openNamespace `json:"open,omitempty"`
}

// modelSocket is the name of the socket at modelAddress.
const modelSocket = "model"

// namespaceTimeout bounds the making of a namespace.
const namespaceTimeout = 30 * time.Second

// made is what the program reports, with the sockets in the same message.
type made struct {
	Error   string   `json:"error,omitempty"`
	Sockets []string `json:"sockets,omitempty"` // their names, in their order
}

const maxSockets = 16

// enter changes the start of a program so that it is started in the namespace, by the
// program sandbox-agent at exe, and returns the file that the sockets come from. Uid is
// who the sandbox is on the host. The files of the start are theirs.
func (n *namespace) enter(start *child.Spec, theirs *inherited, exe string, uid int) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "sockets")
	fd := theirs.add(os.NewFile(uintptr(pair[1]), "sockets"))
	text, err := json.Marshal(n)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	sys, gid := start.Sys, uid
	if os.Geteuid() == 0 {
		sys.GidMappingsEnableSetgroups = true // to have none
		sys.Credential = &syscall.Credential{Uid: insideUID, Gid: insideUID, Groups: []uint32{}}
	} else {
		gid = os.Getegid()
	}
	sys.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: insideUID, HostID: uid, Size: 1}}
	sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: insideUID, HostID: gid, Size: 1}}
	// It is not root there, so that bwrap, which it becomes, has no capability left.
	sys.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}
	sys.Pdeathsig = syscall.SIGKILL
	start.Args = append([]string{"enter-network", fd, string(text), start.Path}, start.Args...)
	start.Path, start.Files = exe, theirs.files
	return ours, nil
}

// startWithUsers starts a program in a user namespace. A process that others of its
// user may not read, as a shim is, may not say who the users in the namespace of its
// child are, unless it is root; so it is readable for that moment.
func startWithUsers(groups *cgroup, start child.Spec) (*child.Child, error) {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 || os.Geteuid() == 0 {
		return groups.start(start)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	server, err := groups.start(start)
	if hideErr := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); hideErr != nil {
		err = errors.Join(err, os.NewSyscallError("prctl", hideErr))
	}
	return server, err
}

// EnterNetwork is the program that a sandbox starts with: it makes what the network
// namespace that it is in needs and becomes another program. Its arguments are the
// descriptor to report on, what to make, and the program with its arguments, which gets
// the environment.
func EnterNetwork(args, env []string) error {
	if len(args) < 3 {
		return errors.New("enter network: too few arguments")
	}
	runtime.LockOSThread() // the capabilities are those of the thread
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("enter network: %w", err)
	}
	unix.CloseOnExec(fd)
	var n namespace
	if err := json.Unmarshal([]byte(args[1]), &n); err != nil {
		return fmt.Errorf("enter network: %w", err)
	}
	var report made
	files, err := n.make(&report)
	if err != nil {
		report = made{Error: err.Error()}
	}
	if sendErr := report.send(fd, files); err == nil {
		err = sendErr
	}
	if err != nil {
		return fmt.Errorf("enter network: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return &os.PathError{Op: "exec", Path: args[2], Err: unix.Exec(args[2], args[2:], env)}
}

// make makes the namespace and returns its sockets.
func (n *namespace) make(report *made) (files []*os.File, err error) {
	if err := interfaceUp("lo"); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", modelAddress)
	if err != nil {
		return nil, err
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	report.Sockets, files = []string{modelSocket}, []*os.File{file}
	if n.Open != nil {
		names, more, err := n.Open.make()
		if err != nil {
			return nil, err
		}
		report.Sockets, files = append(report.Sockets, names...), append(files, more...)
	}
	return files, nil
}

func interfaceUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return os.NewSyscallError("ioctl SIOCGIFFLAGS", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request))
}

func (m made) send(fd int, files []*os.File) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, file := range files {
			fds[i] = int(file.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(fd, text, rights, nil, 0))
}

// sockets are those of a network namespace, by their names.
type sockets map[string]*os.File

// receiveSockets waits for the sockets of a namespace that is made.
func receiveSockets(from *os.File) (sockets, error) {
	conn, err := net.FileConn(from)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(namespaceTimeout))
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*maxSockets))
	n, rightsLen, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(text, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("the program that makes it has ended")
	}
	files, err := parseRights(rights[:rightsLen])
	if err != nil {
		return nil, err
	}
	var report made
	if err := json.Unmarshal(text[:n], &report); err != nil {
		return nil, err
	}
	s := make(sockets)
	for i, name := range report.Sockets {
		if i < len(files) {
			s[name] = files[i]
		}
	}
	if report.Error != "" {
		return nil, errors.New(report.Error)
	}
	return s, nil
}

func parseRights(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "socket"))
		}
	}
	return files, nil
}

// take returns the socket of a name, which the caller closes.
func (s sockets) take(name string) (*os.File, error) {
	file, ok := s[name]
	if !ok {
		return nil, fmt.Errorf("the network namespace has no socket %q", name)
	}
	delete(s, name)
	return file, nil
}

// close closes what was not taken.
func (s sockets) close() {
	for _, file := range s {
		file.Close()
	}
}

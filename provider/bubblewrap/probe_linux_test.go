package bubblewrap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe tries, in a sandbox, something that must not work there. Its error says how
// it was kept from that; nil means that it was not. The test binary is the program
// of the sandbox, so that it can be a probe too.
func probe(name string, args []string) error {
	switch name {
	case "dial": // NETWORK ADDRESS
		conn, err := net.DialTimeout(args[0], args[1], 2*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	case "reach": // NETWORK ADDRESS, and print what comes back
		return reach(args[0], args[1])
	case "resolve": // NAME, and print its addresses
		addrs, err := net.DefaultResolver.LookupHost(context.Background(), args[0])
		fmt.Println(strings.Join(addrs, " "))
		return err
	case "internet":
		return internet(args)
	case "post": // URL BODY, and print the response
		return post(args[0], args[1])
	case "socket": // FAMILY TYPE, as numbers; the family may have bits that an int does not
		family, err := strconv.ParseUint(args[0], 0, 64)
		if err != nil {
			return err
		}
		kind, err := strconv.ParseUint(args[1], 0, 64)
		if err != nil {
			return err
		}
		return call(unix.SYS_SOCKET, uintptr(family), uintptr(kind), rawProtocol(family, kind))
	case "call": // NUMBER
		number, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return call(uintptr(number), 0, 0, 0)
	case "stuff-terminal":
		master, err := unix.Open("/dev/ptmx", unix.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("no terminal to try on: %w", err)
		}
		c := byte('x')
		return call(unix.SYS_IOCTL, uintptr(master), unix.TIOCSTI|1<<40, uintptr(unsafe.Pointer(&c)))
	case "kill":
		pid, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return syscall.Kill(pid, 0)
	case "set-id":
		return setID(args[0])
	case "file-capability":
		return fileCapability()
	}
	return fmt.Errorf("no probe %q", name)
}

// reach sends something and prints what comes back, which is nothing if it did not get
// there.
func reach(network, address string) error {
	conn, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "ping"); err != nil {
		return err
	}
	if conn, ok := conn.(*net.TCPConn); ok {
		conn.CloseWrite()
	}
	buf := make([]byte, 256)
	n, err := io.ReadAtLeast(conn, buf, 1)
	if err != nil {
		return err
	}
	fmt.Printf("%s", buf[:n])
	return nil
}

// internet answers on addresses of this namespace, with what it got and where, until it
// is killed. It prints a line when it does.
func internet(addresses []string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					data, _ := io.ReadAll(conn)
					fmt.Fprintf(conn, "%s at %s", data, address)
				}()
			}
		}()
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := udp.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = udp.WriteTo(buf[:n], from)
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

// post sends a request as an agent does, with the key that it finds, and prints the
// response as it comes.
func post(url, body string) error {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", os.Getenv("ANTHROPIC_API_KEY"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// rawProtocol is one that a raw socket of the internet families needs.
func rawProtocol(family, kind uint64) uintptr {
	if kind == unix.SOCK_RAW && (family == unix.AF_INET || family == unix.AF_INET6) {
		return unix.IPPROTO_ICMP
	}
	return 0
}

func call(number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}

// setID tries one way to make a file of the workspace set-id.
func setID(way string) error {
	const name = "probe-file"
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	at, fresh := uintptr(unsafe.Pointer(path)), func(s string) uintptr {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			panic(err)
		}
		os.Remove(s)
		return uintptr(unsafe.Pointer(p))
	}
	here := ^uintptr(99) // AT_FDCWD
	const high = 1 << 32 // a bit that the kernel drops and a filter may look at
	switch way {
	case "fchmod":
		return call(unix.SYS_FCHMOD, file.Fd(), 0o4755)
	case "fchmod with a high bit":
		return call(unix.SYS_FCHMOD, file.Fd(), 0o2755|high)
	case "fchmodat":
		return call(unix.SYS_FCHMODAT, here, at, 0o6755)
	case "fchmodat2":
		return call(unix.SYS_FCHMODAT2, here, at, 0o4755, 0)
	case "openat":
		return call(unix.SYS_OPENAT, here, fresh("probe-openat"), unix.O_CREAT|unix.O_WRONLY, 0o4755)
	case "openat with high bits":
		return call(unix.SYS_OPENAT, here, fresh("probe-openat"), unix.O_CREAT|unix.O_WRONLY|high, 0o4755|high)
	case "temporary file":
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, here, uintptr(unsafe.Pointer(&[]byte(".\x00")[0])), unix.O_TMPFILE|unix.O_RDWR, 0o4755, 0, 0)
		if errno != 0 {
			return errno
		}
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "probe-tmpfile", unix.AT_SYMLINK_FOLLOW)
	case "openat2":
		fd, err := unix.Openat2(unix.AT_FDCWD, "probe-openat2", &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o4755})
		if err == nil {
			unix.Close(fd)
		}
		return err
	case "mkdirat":
		return call(unix.SYS_MKDIRAT, here, fresh("probe-mkdirat"), 0o2755)
	case "mknodat":
		return call(unix.SYS_MKNODAT, here, fresh("probe-mknodat"), unix.S_IFREG|0o4755, 0)
	}
	return legacySetID(way, at, fresh)
}

// fileCapability gives a file of the workspace a capability, as root of a user
// namespace that it makes.
func fileCapability() error {
	const name = "probe-capability"
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	// struct vfs_cap_data of revision 3 with CAP_SYS_ADMIN and a root of 0.
	data := make([]byte, 24)
	data[0], data[3], data[6] = 1, 3, 1<<5
	return unix.Setxattr(name, "security.capability", data, 0)
}

// exitProbe runs a probe and exits with 0 if it got through, and 7 if it was kept
// from that.
func exitProbe(args []string) int {
	if len(args) == 0 {
		return 2
	}
	err := probe(args[0], args[1:])
	var errno syscall.Errno
	if errors.As(err, &errno) {
		fmt.Printf("%s ", unix.ErrnoName(errno))
	}
	fmt.Println(err)
	if err == nil {
		return 0
	}
	return 7
}

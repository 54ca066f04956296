package shim

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is how long the path of a socket may be on every system; the
// kernel's sun_path has 104 to 108 bytes.
const maxSocketPath = 100

// shortPath calls do with a path of the socket name that fits into an address.
// One that does not is reached through an open descriptor of its directory.
func shortPath(name string, do func(short string) error) error {
	if len(name) <= maxSocketPath {
		return do(name)
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name)))
}

// Dial connects to a socket of a sandbox, however long its path.
func Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	var d net.Dialer
	if network != "unix" {
		return d.DialContext(ctx, network, address)
	}
	err = shortPath(address, func(short string) error {
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	return conn, err
}

// Listen makes a unix socket that only its owner can connect to, in place of one
// that is there. Closing the listener leaves the socket, as its path may be one
// that is only valid for a moment.
func Listen(name string) (listener *net.UnixListener, err error) {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	err = shortPath(name, func(short string) error {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	return listener, os.Chmod(name, 0o600)
}

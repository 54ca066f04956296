package cli

import (
	"fmt"
	"net"
)

// notifyManager sends a state, such as "READY=1", to the service manager that started
// this program, as sd_notify(3) does: one datagram to the socket in NOTIFY_SOCKET. An
// empty socket means that there is no such manager, which is not an error.
//
// See https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html.
func notifyManager(socket, state string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}

//go:build !linux

package httpkit

import "net"

// unsent returns -1, as this system does not report what the peer has not taken.
func unsent(net.Conn) int { return -1 }

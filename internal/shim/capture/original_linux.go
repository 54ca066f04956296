package capture

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST: where a connection was
// going before the rules of this namespace sent it elsewhere.
const soOriginalDst = 80

func originalDestination(conn *net.TCPConn) (to netip.AddrPort, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return to, err
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return to, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		if local.Addr().Unmap().Is4() {
			var a *unix.IPv6Mreq // of the same size as a struct sockaddr_in
			if a, err = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst); err == nil {
				to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.Multiaddr[4:8])), binary.BigEndian.Uint16(a.Multiaddr[2:4]))
			}
			return
		}
		var a *unix.IPv6MTUInfo
		if a, err = unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, soOriginalDst); err == nil {
			port := binary.NativeEndian.AppendUint16(nil, a.Addr.Port)
			to = netip.AddrPortFrom(netip.AddrFrom16(a.Addr.Addr), binary.BigEndian.Uint16(port))
		}
	})
	if controlErr != nil {
		return to, controlErr
	}
	return to, os.NewSyscallError("getsockopt SO_ORIGINAL_DST", err)
}

package capture

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var errLocal = errors.New("it is an address of this host")

// Routed reports an address that the routes of this host do not send to other hosts:
// above all its own, which may be public ones.
func Routed(addr netip.Addr) error {
	routes, err := netlink.RouteGet(addr.Unmap().AsSlice())
	if err != nil {
		return fmt.Errorf("find route: %w", err)
	}
	for _, route := range routes {
		if route.Type != unix.RTN_UNICAST {
			return errLocal
		}
	}
	return nil
}

package capture

import (
	"errors"
	"net/netip"
	"slices"
)

// special are the ranges that are not the public internet: those of the [IPv4] and
// [IPv6] special-purpose registries, multicast, what is reserved, and the address by
// which Azure serves metadata, which is in no such range.
//
// [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry/
// [IPv6]: https://www.iana.org/assignments/iana-ipv6-special-registry/
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
	// Teredo and 6to4 are among them: what they embed is not looked at.
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)

var (
	// globalUnicast6 is what is global unicast of IPv6; all else is special.
	globalUnicast6 = netip.MustParsePrefix("2000::/3")

	// nat64 is the prefix whose addresses stand for those of IPv4 at their end.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// Refused returns the ranges within IPv4 and global unicast IPv6 that a sandbox does
// not reach.
func Refused() []netip.Prefix { return slices.Clone(special) }

var errSpecial = errors.New("it is not an address of the public internet")

// Check reports an address that is not on the public internet, whatever the routes of
// this host are.
func Check(addr netip.Addr) error {
	if !addr.IsValid() || addr.Zone() != "" {
		return errSpecial
	}
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if addr.Is6() && !globalUnicast6.Contains(addr) {
		return errSpecial
	}
	for _, prefix := range special {
		if prefix.Contains(addr) {
			return errSpecial
		}
	}
	return nil
}

package capture

import (
	"net/netip"
	"strings"
	"sync"
)

// Names have addresses of [fake] in a sandbox, so that a connection to one is known by
// its name and goes to an address that was looked up for it.

// Fake is the range of the addresses that stand for names, which is for benchmarks of
// networks and nowhere routed.
var Fake = netip.MustParsePrefix("198.18.0.0/15")

// maxNames is how many names have an address at once. With more, the oldest loses it.
const maxNames = 1 << 16

// names are the names that have an address. The zero value has none.
type names struct {
	mu    sync.Mutex
	index map[string]int // into list
	list  []string       // its index is what the address says
	next  int            // in list, once that is full
}

// address returns the address of a name, and gives it one if it has none.
func (n *names) address(name string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	i, ok := n.index[name]
	if !ok {
		if n.index == nil {
			n.index = make(map[string]int)
		}
		if i = len(n.list); i < maxNames {
			n.list = append(n.list, name)
		} else {
			i = n.next
			n.next = (n.next + 1) % maxNames
			delete(n.index, n.list[i])
			n.list[i] = name
		}
		n.index[name] = i
	}
	base := Fake.Addr().As4()
	i++ // the first one is that of the network
	return netip.AddrFrom4([4]byte{base[0], base[1] + byte(i>>16), byte(i >> 8), byte(i)})
}

// name returns the name that has an address.
func (n *names) name(addr netip.Addr) (string, bool) {
	base, bytes := Fake.Addr().As4(), addr.As4()
	i := (int(bytes[1]-base[1])<<16 | int(bytes[2])<<8 | int(bytes[3])) - 1
	n.mu.Lock()
	defer n.mu.Unlock()
	if i < 0 || i >= len(n.list) {
		return "", false
	}
	return n.list[i], true
}

// hostName returns the name of a host in lower case and without the dot at its end. It
// reports whether it is one: what a resolver of this host would take for an address, or
// look up elsewhere, is not.
func hostName(text string) (string, bool) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if name == "" || len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return "", false
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	return name, true
}

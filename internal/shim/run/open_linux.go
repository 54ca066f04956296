package run

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/internal/shim/capture"
)

// In the network open, every address is one of the namespace itself, and the kernel
// hands connections to them to our listeners: TCP to that of the capture, and what goes
// to port 53 to that for names. Nothing listens for other UDP, such as QUIC, and
// programs see at once that it does not work. There is no interface but the loopback,
// so what escapes the rules goes nowhere.

// openNetwork is modelNetwork with the capture.
func openNetwork(b *box) (network, error) {
	n, err := modelNetwork(b)
	if err != nil {
		return n, err
	}
	own, err := ownPrefixes()
	if err != nil {
		return n, err
	}
	n.namespace.Open = &openNamespace{Refuse: append(capture.Refused(), own...)}
	c := capture.New(capture.Config{Resolver: capture.NewResolver(), Routed: capture.Routed, Log: log.New(b.log, "shim: network: refused ", 0)})
	serveModels, closeModels := n.serve, n.close
	n.serve = func(s sockets) error {
		if err := serveModels(s); err != nil {
			return err
		}
		return serveCapture(c, s)
	}
	n.close = func() {
		closeModels()
		c.Close()
	}
	return n, nil
}

// ownPrefixes are the addresses that this host has now. A connection to one is refused
// when it is made; to one that it gets later, when it is handed on.
func ownPrefixes() ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var own []netip.Prefix
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			addr := prefix.Addr().Unmap()
			own = append(own, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return own, nil
}

// The sockets of the capture. Those of IPv6 are absent where the kernel has none.
const (
	tcpSocket       = "tcp4"
	dnsSocket       = "dns4"
	dnsStreamSocket = "dns-stream4"

	tcpSocket6       = "tcp6"
	dnsSocket6       = "dns6"
	dnsStreamSocket6 = "dns-stream6"
)

// The ports of the capture, below 1024 for the reason that that of modelAddress is.
const (
	capturePort = 889
	dnsPort     = 53
)

func serveCapture(c *capture.Capture, s sockets) error {
	for _, name := range []string{tcpSocket, tcpSocket6, dnsStreamSocket, dnsStreamSocket6} {
		if _, ok := s[name]; !ok {
			continue
		}
		l, err := s.listener(name)
		if err != nil {
			return err
		}
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return fmt.Errorf("socket %s is not one of TCP", name)
		}
		if name == tcpSocket || name == tcpSocket6 {
			go c.ServeTCP(tcp)
		} else {
			go c.ServeDNSStream(tcp)
		}
	}
	for _, name := range []string{dnsSocket, dnsSocket6} {
		if _, ok := s[name]; !ok {
			continue
		}
		file, err := s.take(name)
		if err != nil {
			return err
		}
		conn, err := net.FilePacketConn(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		go c.ServeDNS(conn)
	}
	return nil
}

// openNamespace is what the network open has in its namespace.
type openNamespace struct {
	// Refuse are what is not reached. Programs see so when they connect.
	Refuse []netip.Prefix `json:"refuse"`
}

// A family is a version of the internet protocol in the namespace.
type family struct {
	loopback   netip.Addr
	everything netip.Prefix // that may be reached
	suffix     string       // of the names of its sockets
}

var (
	family4 = family{netip.MustParseAddr("127.0.0.1"), netip.MustParsePrefix("0.0.0.0/0"), "4"}
	family6 = family{netip.IPv6Loopback(), netip.MustParsePrefix("2000::/3"), "6"}
)

// make makes the routes and rules of the namespace and returns its sockets.
func (o *openNamespace) make() (names []string, files []*os.File, err error) {
	var families []family
	for _, f := range []family{family4, family6} {
		more, moreFiles, err := f.listen()
		if err != nil && f == family6 {
			continue // the kernel has none, and then there is no way out by it
		}
		if err != nil {
			return nil, nil, err
		}
		names, files, families = append(names, more...), append(files, moreFiles...), append(families, f)
	}
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, nil, fmt.Errorf("find loopback: %w", err)
	}
	for _, f := range families {
		if err := f.route(link.Attrs().Index, o.Refuse); err != nil {
			return nil, nil, err
		}
	}
	return names, files, redirect(families)
}

func (f family) listen() (names []string, files []*os.File, err error) {
	keep := func(name string, socket interface{ File() (*os.File, error) }, err error) error {
		if err != nil {
			return err
		}
		file, err := socket.File()
		names, files = append(names, name+f.suffix), append(files, file)
		return err
	}
	tcp, err := net.ListenTCP("tcp"+f.suffix, &net.TCPAddr{IP: f.loopback.AsSlice(), Port: capturePort})
	if err := keep("tcp", tcp, err); err != nil {
		return nil, nil, err
	}
	stream, err := net.ListenTCP("tcp"+f.suffix, &net.TCPAddr{IP: f.loopback.AsSlice(), Port: dnsPort})
	if err := keep("dns-stream", stream, err); err != nil {
		return nil, nil, err
	}
	dns, err := net.ListenUDP("udp"+f.suffix, &net.UDPAddr{IP: f.loopback.AsSlice(), Port: dnsPort})
	if err := keep("dns", dns, err); err != nil {
		return nil, nil, err
	}
	return names, files, nil
}

// route makes all that may be reached an address of the namespace.
func (f family) route(link int, refuse []netip.Prefix) error {
	all := netlink.Route{
		LinkIndex: link, Dst: ipNet(f.everything), Src: f.loopback.AsSlice(), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
	}
	if err := netlink.RouteAdd(&all); err != nil {
		return fmt.Errorf("add route to %s: %w", f.everything, err)
	}
	for _, prefix := range refuse {
		if prefix.Addr().BitLen() != f.loopback.BitLen() || prefix.Addr().IsLoopback() || prefix == capture.Fake {
			continue
		}
		to := netlink.Route{Dst: ipNet(prefix), Type: unix.RTN_UNREACHABLE, Table: unix.RT_TABLE_LOCAL}
		if err := netlink.RouteReplace(&to); err != nil {
			return fmt.Errorf("refuse %s: %w", prefix, err)
		}
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// redirect has the kernel hand to our sockets what goes to other addresses than those of
// the loopback.
func redirect(families []family) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "sandbox"})
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for _, f := range families {
		for _, rule := range []struct {
			protocol byte
			port     uint16 // 0 is every one
			to       uint16
		}{{unix.IPPROTO_UDP, dnsPort, dnsPort}, {unix.IPPROTO_TCP, dnsPort, dnsPort}, {unix.IPPROTO_TCP, 0, capturePort}} {
			match := append(f.elsewhere(), protocol(rule.protocol)...)
			if rule.port != 0 {
				match = append(match, port(rule.port)...)
			}
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match,
				&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(rule.to)},
				&expr.Redir{RegisterProtoMin: 1},
			)})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set rules of nftables: %w; the kernel needs nf_tables with nat", err)
	}
	return nil
}

// elsewhere matches packets of the family that do not go to its loopback.
func (f family) elsewhere() []expr.Any {
	version, offset, mask := byte(unix.NFPROTO_IPV4), uint32(16), []byte{255, 0, 0, 0}
	loopback := []byte{127, 0, 0, 0}
	if f.loopback.Is6() {
		version, offset = unix.NFPROTO_IPV6, 24
		loopback = f.loopback.AsSlice()
		mask = net.CIDRMask(128, 128)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{version}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(mask))},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: loopback},
	}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

func port(number uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(number)},
	}
}

package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyThePublicInternetIsAllowed(t *testing.T) {
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "93.184.216.34", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
		"172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "::ffff:8.8.8.8",
		"64:ff9b::808:808", "2606:2800:220:1::34", "2a00::1", "2001:200::1", "3fff:1000::1", "2620:4f:8001::",
	} {
		if err := Check(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.255", "169.254.169.254",
		"172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "::8.8.8.8", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
		"100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:a00:1::", "2002:808:808::", "2620:4f:8000::1", "3fff::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "4000::1", "fe80::1%lo",
	} {
		if Check(netip.MustParseAddr(text)) == nil {
			t.Errorf("%s is allowed", text)
		}
	}
	if Check(netip.Addr{}) == nil {
		t.Error("no address is allowed")
	}
}

func TestNames(t *testing.T) {
	var n names
	seen := make(map[netip.Addr]bool)
	for i := range maxNames + 10 {
		name := fmt.Sprint("host", i)
		addr := n.address(name)
		if got, ok := n.name(addr); !ok || got != name || !Fake.Contains(addr) || n.address(name) != addr {
			t.Fatalf("%s has %v, which is %s, %v", name, addr, got, ok)
		}
		seen[addr] = true
	}
	if len(seen) != maxNames || len(n.index) != maxNames {
		t.Errorf("%d addresses, %d names", len(seen), len(n.index))
	}
	if got, ok := n.name(Fake.Addr()); ok {
		t.Errorf("the address of the network is %s", got)
	}
	if got, ok := new(names).name(netip.MustParseAddr("198.19.255.255")); ok {
		t.Errorf("an address that was not given is %s", got)
	}
}

func TestHostName(t *testing.T) {
	for text, want := range map[string]string{
		"Example.COM.": "example.com", "a": "a", "_srv.x-1.example": "_srv.x-1.example", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"": "", ".": "", "a..b": "", ".a": "", "10.0.0.1": "", "10.0.0.1.": "", "::1": "", "a b": "", "a/b": "", "a:80": "", "fe80::1%lo": "", "b\x00": "", "bücher": "",
		strings.Repeat("a", 64) + ".x": "", strings.Repeat("a.", 127) + "aa": "",
	} {
		if got, ok := hostName(text); got != want && ok || ok != (want != "") {
			t.Errorf("%q: got %q, %v", text, got, ok)
		}
	}
}

// zone resolves names to addresses of a table.
func zone(table map[string]string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(theirs, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(theirs, query); err != nil {
					return
				}
				var m dnsmessage.Message
				if m.Unpack(query) != nil {
					return
				}
				m.Response, m.Additionals = true, nil
				addr, ok := table[m.Questions[0].Name.String()]
				switch {
				case !ok:
					m.RCode = dnsmessage.RCodeNameError
				case addr == "fail":
					m.RCode = dnsmessage.RCodeServerFailure
				case m.Questions[0].Type == dnsmessage.TypeA:
					m.Answers = []dnsmessage.Resource{{
						Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()},
					}}
				}
				answer, _ := m.Pack()
				if _, err := theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}}
}

func ask(t *testing.T, c *Capture, name string, kind dnsmessage.Type) dnsmessage.Message {
	t.Helper()
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET},
	}}
	packed, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	answer, ok := c.answer(packed)
	var m dnsmessage.Message
	if !ok || m.Unpack(answer) != nil || m.ID != 7 || !m.Response {
		t.Fatalf("%s: got %v, %v", name, m, ok)
	}
	return m
}

func TestAnswers(t *testing.T) {
	var notices strings.Builder
	errOwn := errors.New("it is an address of this host")
	c := New(Config{
		Resolver: zone(map[string]string{"site.example.": "93.184.216.34", "inside.example.": "10.0.0.1", "me.example.": "8.8.4.4", "broken.example.": "fail"}),
		Routed: func(addr netip.Addr) error {
			if addr.String() == "8.8.4.4" {
				return errOwn
			}
			return nil
		},
		Log: log.New(&notices, "", 0),
	})
	defer c.Close()
	const svcb, https = 64, 65
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want dnsmessage.RCode
		addr string
	}{
		{"site.example.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "198.18.0.1"},
		{"SITE.example.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "198.18.0.1"},
		{"site.example.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, ""},
		{"site.example.", https, dnsmessage.RCodeSuccess, ""},
		{"site.example.", svcb, dnsmessage.RCodeSuccess, ""},
		{"site.example.", dnsmessage.TypeTXT, dnsmessage.RCodeRefused, ""},
		{"site.example.", dnsmessage.TypeMX, dnsmessage.RCodeRefused, ""},
		{"nowhere.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"inside.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"me.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"broken.example.", dnsmessage.TypeA, dnsmessage.RCodeServerFailure, ""},
		{"10.0.0.1.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
	} {
		m := ask(t, c, test.name, test.kind)
		var addr string
		for _, answer := range m.Answers {
			if body, ok := answer.Body.(*dnsmessage.AResource); ok {
				addr += netip.AddrFrom4(body.A).String()
			}
		}
		if m.RCode != test.want || addr != test.addr {
			t.Errorf("%s %v: got %v %q, want %v %q", test.name, test.kind, m.RCode, addr, test.want, test.addr)
		}
	}
	if want := "inside.example: " + errSpecial.Error() + "\nme.example: " + errOwn.Error() + "\n"; notices.String() != want {
		t.Errorf("the log says %q, want %q", notices.String(), want)
	}
	for _, query := range [][]byte{nil, {1}, make([]byte, 12), make([]byte, 600)} {
		if answer, ok := c.answer(query); ok && len(query) < 12 {
			t.Errorf("%v is answered by %v", query, answer)
		}
	}
}

// What the rule forbids is not dialled, however it is named.
func TestDialAppliesTheRuleToTheAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	c := New(Config{
		Resolver: zone(map[string]string{"loop.example.": "127.0.0.1"}), Routed: func(netip.Addr) error { return nil }, Log: log.New(io.Discard, "", 0),
	})
	defer c.Close()
	named := c.names.address("loop.example") // as if it had led elsewhere when it was looked up
	for _, addr := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("198.19.0.1"), named, c.names.address("localhost")} {
		if conn, err := c.dial(netip.AddrPortFrom(addr, port)); err == nil {
			conn.Close()
			t.Errorf("%s was dialled", addr)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	c := New(Config{Resolver: zone(nil), Routed: func(netip.Addr) error { return nil }, Log: log.New(io.Discard, "", 0)})
	f.Cleanup(c.Close)
	f.Add([]byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04site\x07example\x00\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, query []byte) {
		answer, ok := c.answer(query)
		var m dnsmessage.Message
		if ok && m.Unpack(answer) != nil {
			t.Errorf("%q is answered by %q", query, answer)
		}
	})
}

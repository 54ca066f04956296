package bubblewrap_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

// The network open is tried in a world of its own: a network namespace that stands for
// the host, with an address that is public and no route off this machine, and another
// one that stands for the internet. What a sandbox must not reach is there as well.

// The variable that says that a process is in the world, and as whom it makes sandboxes.
const worldVariable = "SANDBOX_TEST_WORLD"

const (
	hostAddress  = "93.184.216.10" // of the host, public
	hostAddress6 = "2606:2800:220:1::10"
	siteAddress  = "93.184.216.34" // of the internet
	siteAddress6 = "2606:2800:220:1::34"
)

// forbidden are addresses that answer in the world, and that no sandbox reaches.
var forbidden = []string{
	"10.9.9.9", "172.16.9.9", "192.168.9.9", "100.100.100.200", "169.254.169.254", "168.63.129.16", "192.0.2.9", "198.51.100.9", "203.0.113.9",
	"192.88.99.9", "198.19.255.9", "fd00:ec2::254", "2001:db8::9", "2002:a09:909::9", "2001::9", "64:ff9b::a09:909", "64:ff9b:1::9", "fec0::9", "3fff::9",
}

func TestOpenNetwork(t *testing.T)             { inWorld(t, "root") }
func TestOpenNetworkUnprivileged(t *testing.T) { inWorld(t, "user") }

// inWorld runs TestInWorld as root or as an ordinary user of the world.
func inWorld(t *testing.T, user string) {
	needBwrap(t)
	if os.Geteuid() != 0 {
		t.Skip("only root makes the world of this test")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", "--mount", self, "-test.v", "-test.run", "^TestMakeWorld$")
	cmd.Env = append(os.Environ(), worldVariable+"="+user)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`--- PASS: \S*TestInWorld/reach_the_internet`).Match(out) {
		t.Error("the test in the world did not run")
	}
}

// TestMakeWorld makes the world around it, and runs the test in it.
func TestMakeWorld(t *testing.T) {
	user := os.Getenv(worldVariable)
	if user == "" {
		return // TestOpenNetwork runs it
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	dir := providertest.TempDir(t)
	for name, text := range map[string]string{"resolv.conf": "nameserver 127.0.0.1\n", "hosts": "127.0.0.1 localhost\n"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run("mount", "--bind", file, "/etc/"+name)
	}
	internet := exec.Command("unshare", "--net", "sh", "-c", `read line; exec "$0" "$@"`, self, "probe", "internet", ":80", ":443")
	in, err := internet.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := internet.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := internet.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		internet.Process.Kill()
		internet.Wait()
	})
	pid := fmt.Sprint(internet.Process.Pid)
	providertest.Wait(t, "the namespace of the internet is there", func() bool {
		ours, err1 := os.Readlink("/proc/self/ns/net")
		theirs, err2 := os.Readlink("/proc/" + pid + "/ns/net")
		return err1 == nil && err2 == nil && ours != theirs
	})
	there := func(args ...string) { t.Helper(); run("nsenter", append([]string{"-t", pid, "-n", "ip"}, args...)...) }
	run("ip", "link", "set", "lo", "up")
	run("ip", "link", "add", "out", "type", "veth", "peer", "name", "in", "netns", pid)
	run("ip", "addr", "add", hostAddress+"/24", "dev", "out")
	run("ip", "addr", "add", hostAddress6+"/64", "dev", "out", "nodad")
	run("ip", "link", "set", "out", "up")
	there("link", "set", "lo", "up")
	there("link", "set", "in", "up")
	for _, address := range append([]string{siteAddress, siteAddress6}, forbidden...) {
		bits := "/32"
		if strings.Contains(address, ":") {
			bits = "/128"
		}
		there("addr", "add", address+bits, "dev", "in", "nodad")
	}
	there("route", "add", hostAddress, "dev", "in")
	there("-6", "route", "add", hostAddress6, "dev", "in")
	run("ip", "route", "add", "default", "via", siteAddress, "dev", "out", "onlink")
	run("ip", "-6", "route", "add", "default", "via", siteAddress6, "dev", "out", "onlink")
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the internet said %q, %v", line, err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	serveNames(t)
	if user == "root" {
		t.Run("TestInWorld", inTheWorld)
		return
	}
	providertest.RunUnprivileged(t, "^TestInWorld$")
}

// TestInWorld is the test for an ordinary user.
func TestInWorld(t *testing.T) {
	if os.Getenv(worldVariable) == "user" && os.Geteuid() != 0 {
		inTheWorld(t)
	}
}

// serveNames is the resolver of the host.
func serveNames(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	asked := make(map[string]int)
	lookup := func(name string) []string {
		mu.Lock()
		defer mu.Unlock()
		asked[name]++
		addrs, ok := map[string][]string{
			"site.example.": {siteAddress}, "six.example.": {siteAddress6}, "both.example.": {"10.9.9.9", siteAddress},
			"inside.example.": {"10.9.9.9"}, "loop.example.": {"127.0.0.1", "::1"}, "meta.example.": {"169.254.169.254"}, "azure.example.": {"168.63.129.16"},
			"me.example.": {hostAddress, hostAddress6}, "mapped.example.": {"::ffff:10.9.9.9"}, "nat64.example.": {"64:ff9b::a09:909"},
		}[name]
		if !ok && strings.HasPrefix(name, "rebind") {
			addrs = []string{siteAddress}
			if asked[name] > 2 { // A and AAAA
				addrs = []string{"10.9.9.9"}
			}
		}
		return addrs
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := answerName(buf[:n], lookup); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
}

func answerName(query []byte, lookup func(string) []string) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	message := dnsmessage.Message{Header: dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
	addrs := lookup(q.Name.String())
	if addrs == nil {
		message.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range addrs {
		addr := netip.MustParseAddr(text)
		resource := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			resource.Body = &dnsmessage.AResource{A: addr.As4()}
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			resource.Body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		message.Answers = append(message.Answers, resource)
	}
	return message.Pack()
}

func inTheWorld(t *testing.T) {
	e := newEscape(t, provider.NetworkOpen)
	t.Run("reach the internet", e.internet)
	t.Run("reach nothing else", e.notInternet)
	t.Run("reach no name that leads elsewhere by now", e.rebinding)
	t.Run("reach no address that the host gets later", e.laterAddress)
	t.Run("reach models", e.models)
	t.Run("must fail", func(t *testing.T) { escapes(t, provider.NetworkOpen) })
}

// probe runs a probe in the sandbox and returns what it printed.
func (e *escape) probe(t *testing.T, args ...string) string {
	t.Helper()
	result := e.run(t, append([]string{"/opt/sandbox-agent/sandbox-agent", "probe"}, args...)...)
	if result.ExitCode == nil || *result.ExitCode != 0 {
		t.Errorf("%q: %+v", args, result)
	}
	return result.Stdout
}

func (e *escape) internet(t *testing.T) {
	for _, to := range []string{siteAddress + ":80", siteAddress + ":443", "[" + siteAddress6 + "]:80", "site.example:80", "SITE.example.:443", "six.example:80", "both.example:80"} {
		if got := e.probe(t, "reach", "tcp", to); !strings.HasPrefix(got, "ping at ") {
			t.Errorf("%s: got %q", to, got)
		}
	}
	if got := e.probe(t, "resolve", "site.example"); !strings.HasPrefix(got, "198.18.") {
		t.Errorf("the name has the address %s", got)
	}
	for _, script := range []string{"getent hosts site.example", "python3 -c 'import socket; print(socket.create_connection((\"site.example\", 80)).getpeername()[1])'"} {
		if result := e.run(t, "sh", "-c", script); result.ExitCode == nil || *result.ExitCode != 0 {
			t.Errorf("%s: %+v", script, result)
		}
	}
	for _, name := range []string{"nowhere.example", "site.example.nowhere"} {
		e.blocked(t, "", []string{"resolve", name})
	}
}

func (e *escape) notInternet(t *testing.T) {
	for _, address := range forbidden {
		to := net.JoinHostPort(address, "80")
		if err := reach("tcp", to); err != nil {
			t.Errorf("the host itself does not reach %s: %v", to, err) // so the test shows nothing
		}
		e.blocked(t, "", []string{"reach", "tcp", to})
		e.blocked(t, "", []string{"reach", "udp", to})
	}
	for _, name := range []string{"inside", "loop", "meta", "azure", "me", "mapped", "nat64", "localhost", "10.9.9.9", "0x0a090909", "168364297"} {
		if !strings.ContainsAny(name, "0123456789") {
			name += ".example"
		}
		e.blocked(t, "", []string{"reach", "tcp", net.JoinHostPort(name, "80")})
	}
	for _, to := range []string{"[::ffff:10.9.9.9]:80", "198.18.255.255:80", "[::10.9.9.9]:80", "224.0.0.1:80", "255.255.255.255:80", hostAddress + ":53"} {
		e.blocked(t, "", []string{"reach", "tcp", to})
	}
	for _, to := range []string{siteAddress + ":443", "[" + siteAddress6 + "]:443", hostAddress + ":53"} {
		e.blocked(t, "", []string{"reach", "udp", to})
	}
	for _, to := range []string{"127.0.0.1:889", "[::1]:889"} {
		e.blocked(t, "", []string{"reach", "tcp", to})
	}
	if result := e.run(t, "sh", "-c", "cat /proc/net/dev"); strings.Count(result.Stdout, ":") != 1 {
		t.Errorf("interfaces: %s", result.Stdout)
	}
}

func (e *escape) rebinding(t *testing.T) {
	if got := e.probe(t, "resolve", "rebind.example"); !strings.HasPrefix(got, "198.18.") {
		t.Fatalf("got %s", got)
	}
	e.blocked(t, "", []string{"reach", "tcp", "rebind.example:80"})
	addr := strings.Fields(e.probe(t, "resolve", "rebind-again.example"))[0]
	e.blocked(t, "", []string{"reach", "tcp", addr + ":80"})
}

func (e *escape) laterAddress(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root gives the host one
	}
	const later = "93.184.216.99"
	if out, err := exec.Command("ip", "addr", "add", later+"/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", later+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "reached")
			conn.Close()
		}
	}()
	e.blocked(t, "", []string{"reach", "tcp", later + ":80"})
	logs, err := e.p.Logs(providertest.Context(t), e.i.ID)
	if err != nil || !strings.Contains(string(logs), "refused "+later+":80: it is an address of this host") {
		t.Errorf("the log says %s, %v", logs, err)
	}
}

func (e *escape) models(t *testing.T) {
	u := newModelUser(t, providertest.TempDir(t), upstream(t, fakemodel.New(fakemodel.Options{}))...)
	i := providertest.Create(t, u.p, provider.Spec{Network: provider.NetworkOpen})
	if got := u.post(t, i.ID, "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"marker"}]}`); !strings.Contains(got, "marker") {
		t.Errorf("got %s", got)
	}
}

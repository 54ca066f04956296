package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/child/reaper"
)

// serverState is what a server leaves in its data directory for the commands of
// the same user. It holds no token: agents run as that user, too.
type serverState struct {
	URL       string `json:"url"`
	PID       int    `json:"pid"`       // to signal
	Process   int    `json:"process"`   // that of the server itself, which may have a parent
	StartedAt int64  `json:"startedAt"` // Unix milliseconds
}

// stateName is the name of that file.
const stateName = "server.json"

func (g *globals) stateFile() string { return filepath.Join(g.data(), stateName) }

// publish writes where this server answers, if that is a TCP port. What it returns
// takes that back.
func (g *globals) publish(addr net.Addr) (withdraw func() error, err error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return func() error { return nil }, nil
	}
	data, err := json.Marshal(serverState{URL: localURL(tcp), PID: reaper.PID(), Process: os.Getpid(), StartedAt: time.Now().UnixMilli()})
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	path := g.stateFile()
	if err := atomicfile.Write(path, append(data, '\n'), atomicfile.Options{}); err != nil {
		return nil, fmt.Errorf("write state: %w", err)
	}
	return func() error {
		if s, ok := readState(path); !ok || s.Process != os.Getpid() {
			return nil // of a later server
		}
		return os.Remove(path)
	}, nil
}

// localURL is where this machine reaches a server that listens on an address.
func localURL(addr *net.TCPAddr) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

func readState(path string) (s serverState, ok bool) {
	data, err := os.ReadFile(path)
	return s, err == nil && json.Unmarshal(data, &s) == nil && s.URL != "" && s.PID > 0
}

// published returns where the server of the data directory answers, nothing when
// none runs.
func (g *globals) published() string { return publishedIn(g.data()) }

func publishedIn(dir string) string {
	s, ok := readState(filepath.Join(dir, stateName))
	if !ok || syscall.Kill(s.PID, 0) == syscall.ESRCH {
		return ""
	}
	return s.URL
}

// expected reports whether a server is the one that these commands belong to: of
// this version, and on this data directory.
func (g *globals) expected(v *api.Version) bool {
	own := Version()
	return v.Name == own.Name && v.Version == own.Version && v.Commit == own.Commit && sameDirectory(v.DataDir, g.data())
}

func sameDirectory(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// introduce says whom a command talks to where that is not the server that its
// user expects. One that was named is expected.
func (g *globals) introduce(ctx context.Context, client *sandboxagent.Client) {
	if g.givenEndpoint() != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := client.Version(ctx)
	if err != nil || g.expected(v) {
		return // the command itself meets the error
	}
	own := Version()
	fmt.Fprintf(g.env.Err, "sandbox-agent: %s is %s, not %s; name another server with --endpoint or --data-dir\n",
		client.BaseURL(), describeServer(v.Name, v.Version, v.DataDir), describeServer(own.Name, own.Version, g.data()))
}

func describeServer(name, version, dir string) string {
	text := cmp.Or(name, "a server without a name")
	if version != "" {
		text += " " + version
	}
	return printable(text + " on " + cmp.Or(dir, "a data directory that it does not tell"))
}

// ownServer returns a client of the server that runs on the data directory. It is
// nil when there is none, or none that this command can use, which is noted.
func (g *globals) ownServer(ctx context.Context) *sandboxagent.Client {
	endpoint := g.published()
	if endpoint == "" {
		return nil
	}
	client := g.dialTo(endpoint)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := client.Version(ctx)
	switch {
	case err == nil && g.expected(v):
		return client
	case err == nil && !sameDirectory(v.DataDir, g.data()):
		// Another server has got the port of one that is gone.
	case err == nil:
		fmt.Fprintf(g.env.Err, "sandbox-agent: the server at %s is of another version (%s); this session joins its sessions when it ends\n", endpoint, printable(v.Version))
	case unauthorized(err):
		fmt.Fprintf(g.env.Err, "sandbox-agent: the server at %s requires a token; without --token this session joins its sessions when it ends\n", endpoint)
	}
	client.Close()
	return nil
}

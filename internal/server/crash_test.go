package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/server"
)

// serveChild is what the test binary does as the argument "serve": it is a
// server on the data folder of its next argument, until it is killed.
func serveChild(dir string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	srv, err := server.Open(server.Config{DataDir: dir, Home: dir, Env: os.Environ(), SelfExe: exe})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	return srv.Serve(context.Background(), listener)
}

// startChild runs a server in a process of its own.
func startChild(t *testing.T, dir string) (*instance, *exec.Cmd) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "serve", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, url: strings.TrimSpace(url), client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(in.client.CloseIdleConnections)
	return in, cmd
}

// TestKillServerInBurst kills the server while an agent floods its readers.
// Each reader that comes back with the id of its last event gets every event
// that any reader had seen, what was said to be the newest is there, and the agent
// is not left behind.
func TestKillServerInBurst(t *testing.T) {
	dir := t.TempDir()
	in, cmd := startChild(t, dir)
	id := in.mockSession(t, "s")
	pid := in.agentPID(t)

	const readers = 5
	seen := make([][]event, readers)
	var wg sync.WaitGroup
	enough := make(chan struct{}, readers)
	for i := range seen {
		wg.Go(func() {
			seen[i] = in.events(t, "/v1/acp/s", nil, nil, func(e event) bool {
				if e.id == uint64(2000*(i+1)) {
					enough <- struct{}{}
				}
				return false
			})
		})
	}
	go in.client.Post(in.url+"/v1/acp/s", "application/json", strings.NewReader(
		fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/burst 10000000"}]}}`, id)))
	for range readers {
		<-enough
	}
	newest := func(in *instance) uint64 {
		return decode[api.Session](t, in.check(t, scenario{path: "/v1/sessions/" + id, status: 200})).LastEvent
	}
	session := newest(in)
	connection := decode[api.ACPServerList](t, in.check(t, scenario{path: "/v1/acp", status: 200})).Servers[0].LastEvent
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	wg.Wait()
	await(t, "the agent to be gone", func() bool { return state(pid) == "" || state(pid) == "Z" })

	furthest := 0
	for i, all := range seen {
		contiguous(t, 0, all)
		if len(all) > len(seen[furthest]) {
			furthest = i
		}
	}
	again, _ := startChild(t, dir)
	if now := newest(again); now < session {
		t.Errorf("event %d of the session was there, and now %d is the newest", session, now)
	}
	for i, all := range seen {
		last := all[len(all)-1].id
		rest := again.events(t, "/v1/acp/s", &last, nil, func(e event) bool { return strings.Contains(e.data, "_adapter/agent_exited") })
		contiguous(t, last, rest)
		whole := append(all[:len(all):len(all)], rest...)
		if now := whole[len(whole)-1].id; now <= connection {
			t.Errorf("event %d of the connection was there, and now %d is the newest", connection, now)
		}
		for n, want := range seen[furthest] {
			if whole[n] != want {
				t.Fatalf("reader %d has %v as event %d, another saw %v", i, whole[n], n+1, want)
			}
		}
	}
	again.rpc(t, "/v1/acp/s?agent=mock", `{"jsonrpc":"2.0","id":10,"method":"initialize","params":{"protocolVersion":1}}`)
}

package server_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// startChild runs a server in a process of its own.
func startChild(t *testing.T, dir string) (*instance, *serve.Process) {
	t.Helper()
	p := serve.Spawn(t, "serve", dir)
	return &instance{t: t, url: p.URL, client: p.Client}, p
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
				if e.ID == uint64(2000*(i+1)) {
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
	if err := cmd.Kill(); err != nil {
		t.Fatal(err)
	}
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
		last := all[len(all)-1].ID
		rest := again.events(t, "/v1/acp/s", &last, nil, func(e event) bool { return strings.Contains(e.Data, "_adapter/agent_exited") })
		contiguous(t, last, rest)
		whole := append(all[:len(all):len(all)], rest...)
		if now := whole[len(whole)-1].ID; now <= connection {
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

// TestKillServerInBody kills the server while it takes in a large file and an
// archive. The next one leaves nothing of either.
func TestKillServerInBody(t *testing.T) {
	dir := t.TempDir()
	in, cmd := startChild(t, dir)
	files := func() (found []string) {
		err := filepath.WalkDir(dir+"/in", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		return found
	}
	var archive bytes.Buffer
	if err := tar.NewWriter(&archive).WriteHeader(&tar.Header{Name: "f", Mode: 0o600, Size: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	send := func(method, path string, head []byte) io.Closer {
		r, w := io.Pipe()
		sending.Go(func() {
			req, err := http.NewRequest(method, in.url+path, r)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/x-tar")
			if res, err := in.client.Do(req); err == nil {
				res.Body.Close()
			}
		})
		w.Write(head)
		w.Write(make([]byte, 1<<20)) // and no end
		return w
	}
	large := send(http.MethodPut, "/v1/fs/file?path=in/a/large", nil)
	packed := send(http.MethodPost, "/v1/fs/upload-batch?path=in/b", archive.Bytes())
	await(t, "both to be under way", func() bool { return len(files()) == 2 })
	if err := cmd.Kill(); err != nil {
		t.Fatal(err)
	}
	large.Close()
	packed.Close()
	sending.Wait()
	if len(files()) != 2 {
		t.Errorf("the killed server left %q", files())
	}
	startChild(t, dir)
	for _, made := range []string{dir + "/in", dir + "/unfinished/*"} {
		if left, err := filepath.Glob(made); len(left) != 0 || err != nil {
			t.Errorf("the next server left %q, %v", left, err)
		}
	}
}

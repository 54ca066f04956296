//go:build conformance

package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// residentKiB is what a process holds in memory.
func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(text)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the kernel does not say what is resident")
	return 0
}

// count reads a stream until it has had the event last, and checks that no event
// was missed on the way.
func (in *instance) countTo(ctx context.Context, path string, after, last uint64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Last-Event-ID", strconv.FormatUint(after, 10))
	resp, err := in.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	seen := after
	for e := range testkit.Events(resp.Body) {
		if e.ID != seen+1 {
			return fmt.Errorf("event %d follows event %d", e.ID, seen)
		}
		if seen = e.ID; seen == last {
			return nil
		}
	}
	return fmt.Errorf("the stream ended after event %d", seen)
}

// burst has the mock say that many things in a session.
func (in *instance) burst(t *testing.T, session string, updates int) {
	t.Helper()
	in.check(t, scenario{method: "POST", path: "/v1/sessions/" + session + "/prompt", header: jsonHeader, status: 200,
		body: fmt.Sprintf(`{"prompt":"/burst %d"}`, updates)})
}

// TestThousandReaders has a thousand readers of one busy session, one of which
// does not read at all. The others miss nothing, and the server holds less than
// a quarter of a MiB for each.
func TestThousandReaders(t *testing.T) {
	const readers, updates = 1000, 2000
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	in, cmd := startChild(t, t.TempDir())
	in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonHeader, status: 201, body: `{"agent":"mock","id":"busy"}`})
	in.burst(t, "busy", 1)
	before := residentKiB(t, cmd.Process.Pid)

	stalled, err := in.client.Get(in.url + "/v1/sessions/busy/events/stream?after=0")
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Body.Close()
	var wg sync.WaitGroup
	for range readers - 1 {
		wg.Go(func() {
			if err := in.countTo(ctx, "/v1/sessions/busy/events/stream", 0, updates); err != nil {
				t.Error(err)
			}
		})
	}
	in.burst(t, "busy", updates)
	wg.Wait()
	grown := residentKiB(t, cmd.Process.Pid) - before
	t.Logf("grown by %d KiB with %d readers", grown, readers)
	if grown > readers*256 {
		t.Errorf("the server has grown by %d KiB", grown)
	}
}

// TestReplayOfManyEvents reads 100,000 events of a server that was started after
// they were made, each exactly once.
func TestReplayOfManyEvents(t *testing.T) {
	const updates = 100_000
	dir := t.TempDir()
	in, cmd := startChild(t, dir)
	in.check(t, scenario{method: "POST", path: "/v1/sessions", header: jsonHeader, status: 201, body: `{"agent":"mock","id":"long"}`})
	in.burst(t, "long", updates)
	if err := cmd.Kill(); err != nil {
		t.Fatal(err)
	}
	again, _ := startChild(t, dir)
	started := time.Now()
	if err := again.countTo(t.Context(), "/v1/sessions/long/events/stream", 0, updates); err != nil {
		t.Error(err)
	}
	t.Logf("replayed %d events in %v", updates, time.Since(started))
}

// TestMoveManyEvents moves 100,000 events, 100 MiB, from one server to another.
// Neither grows by more than a part of that.
func TestMoveManyEvents(t *testing.T) {
	const events, most = 100_000, 48 << 10
	from, fromCmd := startChild(t, t.TempDir())
	to, toCmd := startChild(t, t.TempDir())
	before := []int{residentKiB(t, fromCmd.Process.Pid), residentKiB(t, toCmd.Process.Pid)}
	grown := make([]int, 2)
	watch := func() {
		grown[0] = max(grown[0], residentKiB(t, fromCmd.Process.Pid)-before[0])
		grown[1] = max(grown[1], residentKiB(t, toCmd.Process.Pid)-before[1])
	}
	bring := func(in *instance, file io.Reader) {
		resp, err := in.client.Post(in.url+"/v1/sessions/import", "application/x-ndjson", &watched{file, 0, watch})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("import: status %d", resp.StatusCode)
		}
	}
	bring(from, strings.NewReader(sessionFile([]string{"long"}, events, 1000)))
	resp, err := from.client.Get(from.url + "/v1/sessions/export")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	bring(to, resp.Body)
	t.Logf("the servers have grown by %d and %d KiB", grown[0], grown[1])
	if max(grown[0], grown[1]) > most {
		t.Errorf("a server has grown by more than %d KiB", most)
	}
	if err := to.countTo(t.Context(), "/v1/sessions/long/events/stream", 0, events); err != nil {
		t.Error(err)
	}
}

// watched calls watch after every MiB that was read.
type watched struct {
	io.Reader
	bytes int
	watch func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	before := w.bytes >> 20
	if w.bytes += n; w.bytes>>20 > before {
		w.watch()
	}
	return n, err
}

// TestLongestFrame has an agent write a line that is longer than what a journal
// takes by default, to a server that was told to take it.
func TestLongestFrame(t *testing.T) {
	in := start(t, app.Config{Limits: api.Limits{MaxFrameBytes: 70 << 20}})
	id := in.mockSession(t, "s")
	reply := in.rpc(t, "/v1/acp/s", fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/longline %d"}]}}`, id, 70<<20))
	if !strings.Contains(reply, `"stopReason":"end_turn"`) {
		t.Errorf("the prompt was answered with %s", reply)
	}
}

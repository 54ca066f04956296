package session_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

var (
	chaosDuration = flag.Duration("chaos.duration", 4*time.Second, "how long TestChaos kills")
	chaosSessions = flag.Int("chaos.sessions", 50, "sessions of TestChaos")
)

const chaosReaders = 5

// spawn starts a server as a process of its own, which can be killed.
func spawn(t *testing.T, data, home string) *serve.Process {
	t.Helper()
	return serve.Spawn(t, "serve", data, home)
}

// address is where the server is at the moment; it changes when one is killed.
type address struct{ atomic.Value }

func (a *address) get() string { return a.Load().(string) }

// TestChaos has sessions work and clients follow them while agents and the
// server are killed without warning. In the end every client must have seen the
// same as is stored, and every session must answer.
func TestChaos(t *testing.T) {
	data, home := t.TempDir(), t.TempDir()
	current := spawn(t, data, home)
	var url address
	url.Store(current.URL)
	r := of(t, current, data, home)
	defer r.http.CloseIdleConnections()
	ids := make([]string, *chaosSessions)
	for i := range ids {
		ids[i] = r.create(`{"agent":"` + []string{"keeper", "loader", "plain"}[i%3] + `"}`).ID
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var work, readers sync.WaitGroup
	seen := make([][]*trail, len(ids))
	for i, id := range ids {
		work.Go(func() { chaosPrompts(ctx, r, &url, id) })
		for range chaosReaders {
			one := &trail{id: id}
			seen[i] = append(seen[i], one)
			readers.Go(func() { one.follow(r, &url) })
		}
	}
	current = chaosKills(t, ctx, r, &url, current, data, home)
	stop()
	work.Wait()

	r.url = url.get()
	for i, id := range ids {
		text := chaosAnswer(t, r, id)
		if !strings.Contains(text, "last words") {
			t.Errorf("session %d says %q", i, text)
		}
	}
	for i, id := range ids {
		r.do("POST", "/v1/sessions/"+id+"/cancel", "", nil)
		r.do("DELETE", "/v1/sessions/"+id, "", nil)
		stored := r.events(id)
		for n, one := range seen[i] {
			one.check(t, fmt.Sprintf("session %d, reader %d", i, n), stored)
		}
	}
	readers.Wait()
	if err := current.End(); err != nil {
		t.Error(err)
	}
	orphans(t, data)
}

// TestKilledRightAfter kills the server as soon as sessions have answered, and
// expects them to be as they were said to be.
func TestKilledRightAfter(t *testing.T) {
	data, home := t.TempDir(), t.TempDir()
	server := spawn(t, data, home)
	r := of(t, server, data, home)
	for range 5 {
		said := make([]api.Session, 8)
		var work sync.WaitGroup
		for i := range said {
			work.Go(func() {
				id := r.create(`{"agent":"keeper"}`).ID
				r.prompt(id, "/echo the first words")
				r.prompt(id, "/echo more")
				r.do("POST", "/v1/sessions/"+id+"/model", `{"model":"mock-fast"}`, &said[i])
			})
		}
		work.Wait()
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		r.http.CloseIdleConnections()
		server = spawn(t, data, home)
		r.url = server.URL
		for _, before := range said {
			s := r.get(before.ID)
			if s.Usage.TotalTokens != before.Usage.TotalTokens || s.Title != before.Title || s.Model != before.Model || s.LastEvent < before.LastEvent {
				t.Errorf("%q had used %d tokens of %s as of event %d, and now it is %q, %d, %s, %d", before.Title, before.Usage.TotalTokens, before.Model, before.LastEvent,
					s.Title, s.Usage.TotalTokens, s.Model, s.LastEvent)
			}
		}
	}
	r.http.CloseIdleConnections()
	if err := server.End(); err != nil {
		t.Error(err)
	}
}

// chaosPrompts gives a session work until ctx ends. What fails was killed.
func chaosPrompts(ctx context.Context, r *rig, url *address, id string) {
	for n := 0; ctx.Err() == nil; n++ {
		_ = (&rig{url: url.get(), http: r.http}).send(ctx, "POST", "/v1/sessions/"+id+"/prompt", promptBody(fmt.Sprintf("/burst %d", 20+n%50), ""), nil)
		select { // a server that is down refuses at once
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// chaosKills kills agents all the time and the server now and then, for as long as
// it is told, and until it has done both.
func chaosKills(t *testing.T, ctx context.Context, r *rig, url *address, current *serve.Process, data, home string) *serve.Process {
	end := time.After(*chaosDuration)
	server := time.NewTicker(min(*chaosDuration/4, 5*time.Second))
	defer server.Stop()
	agents := time.NewTicker(30 * time.Millisecond)
	defer agents.Stop()
	killed, restarts, over := 0, 0, false
	for {
		if over && killed > 0 && restarts > 0 {
			t.Logf("killed %d agents and %d servers", killed, restarts)
			return current
		}
		select {
		case <-end:
			over = true
		case <-agents.C:
			var list api.ACPServerList
			if err := (&rig{url: url.get(), http: r.http}).send(ctx, "GET", "/v1/acp?all=true", "", &list); err != nil || len(list.Servers) == 0 {
				continue
			}
			if pid := list.Servers[rand.IntN(len(list.Servers))].PID; parent(pid) == current.Process.Pid && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		case <-server.C:
			if err := current.Kill(); err != nil {
				t.Errorf("kill the server: %v", err)
			}
			current = spawn(t, data, home)
			url.Store(current.URL)
			restarts++
		}
	}
}

// parent returns the parent of a process, or 0. Numbers of processes are used
// again soon, so one that a list gave is looked at before it is killed.
func parent(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	var state string
	var ppid int
	if _, err := fmt.Sscan(rest, &state, &ppid); err != nil {
		return 0
	}
	return ppid
}

// chaosAnswer prompts until the session answers: the first try may meet an agent
// whose death nobody has noticed yet.
func chaosAnswer(t *testing.T, r *rig, id string) string {
	t.Helper()
	var turn api.SessionTurn
	var err error
	for range 3 {
		if err = r.send(t.Context(), "POST", "/v1/sessions/"+id+"/prompt", promptBody("/echo last words", `,"queue":true`), &turn); err == nil {
			return turn.Text
		}
	}
	t.Errorf("session %s does not answer: %v", id, err)
	return ""
}

// trail is what one client saw of a session.
type trail struct {
	id     string
	mu     sync.Mutex
	events []api.SessionEvent
}

// follow reads on from the last event, over servers that die, until the session
// is destroyed.
func (w *trail) follow(r *rig, url *address) {
	for {
		w.mu.Lock()
		after := len(w.events)
		w.mu.Unlock()
		ended := w.read(r, url.get(), after)
		if ended {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *trail) read(r *rig, url string, after int) (ended bool) {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/v1/sessions/%s/events/stream?after=%d", url, w.id, after), nil)
	if err != nil {
		return false
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	for event := range testkit.Events(resp.Body) { // one that the killed server did not end does not count
		var e api.SessionEvent
		if json.Unmarshal([]byte(event.Data), &e) != nil {
			return false
		}
		w.mu.Lock()
		w.events = append(w.events, e)
		w.mu.Unlock()
		if strings.Contains(event.Data, api.EventSessionDestroyed) {
			return true
		}
	}
	return false
}

// check compares what was seen with what is stored.
func (w *trail) check(t *testing.T, who string, stored []api.SessionEvent) {
	t.Helper()
	await(t, who+" to be done", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.events) >= len(stored)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range w.events {
		if i >= len(stored) {
			t.Errorf("%s saw %d events of %d, the last is %d %s", who, len(w.events), len(stored), e.EventIndex, e.Payload)
			return
		}
		if e.EventIndex != stored[i].EventIndex || string(e.Payload) != string(stored[i].Payload) {
			t.Errorf("%s saw %s as event %d, stored is %s", who, e.Payload, i+1, stored[i].Payload)
			return
		}
	}
}

// orphans looks for agents that have outlived their server.
func orphans(t *testing.T, data string) {
	t.Helper()
	await(t, "agents to be gone", func() bool {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return true // there is no process table to look at
		}
		for _, e := range entries {
			line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
			if err == nil && strings.Contains(string(line), data) {
				return false
			}
		}
		return true
	})
}

// TestKilledAfterOpening kills the server as soon as a session of an ACP client has
// its id. The next one has the session.
func TestKilledAfterOpening(t *testing.T) {
	data, home := t.TempDir(), t.TempDir()
	for n := range 5 {
		server := spawn(t, data, home)
		r := of(t, server, data, home)
		id := r.open(fmt.Sprint("client-", n), "keeper").newSession()
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		r.http.CloseIdleConnections()
		server = spawn(t, data, home)
		r.url = server.URL
		if s := r.get(id); s.CWD != home || s.LastEvent == 0 {
			t.Errorf("session %s is %+v", id, s)
		}
		r.http.CloseIdleConnections()
		if err := server.End(); err != nil {
			t.Error(err)
		}
	}
}

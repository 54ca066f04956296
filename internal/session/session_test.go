package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// TestReaders has many clients follow one session, one of which does not read.
func TestReaders(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper"}`)
	stalled, err := r.http.Get(r.url + "/v1/sessions/" + s.ID + "/events/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Body.Close()
	const readers = 8
	got := make([][]string, readers)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range readers {
		wg.Go(func() {
			got[i] = follow(ctx, t, r, s.ID, 0, func(data string) bool { return strings.Contains(data, "the end") })
		})
	}
	await(t, "all to be attached", func() bool { return len(r.get(s.ID).Clients) == readers+1 })
	r.prompt(s.ID, "/burst 20000")
	r.prompt(s.ID, "the end")
	wg.Wait()
	if len(got[0]) < 20_000 {
		t.Fatalf("got %d events", len(got[0]))
	}
	for i := range readers {
		if strings.Join(got[i], "\n") != strings.Join(got[0], "\n") {
			t.Errorf("reader %d got other events than reader 0", i)
		}
	}
}

// follow reads the events of a session behind after until stop says so or ctx
// ends.
func follow(ctx context.Context, t *testing.T, r *rig, id string, after uint64, stop func(data string) bool) []string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/v1/sessions/%s/events/stream?after=%d", r.url, id, after), nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var all []string
	for e := range testkit.Events(resp.Body) {
		all = append(all, e.Data)
		if stop(e.Data) {
			break
		}
	}
	return all
}

func TestFirstAnswerWins(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper"}`)
	r.promptAsync(s.ID, "write a.txt with one", "")
	p := r.awaitPermission(s.ID)
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for i := range errs {
		wg.Go(func() {
			reply := []string{"once", "reject", "always"}[i%3]
			errs[i] = r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, `{"reply":"`+reply+`"}`, nil)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, api.CodePermissionResolved) {
			t.Errorf("answer: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d answers counted", won)
	}
	r.awaitStatus(s.ID, api.SessionIdle)
	if n := count(r.events(s.ID), api.EventPermissionResolved); n != 1 {
		t.Errorf("%d events tell of the answer", n)
	}
}

func TestPermissionExpires(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper","permissions":{"expireAfterMs":10}}`)
	if turn := r.prompt(s.ID, "/permission"); turn.StopReason != "cancelled" {
		t.Errorf("the turn ended with %s", turn.StopReason)
	}
	if n := count(r.events(s.ID), `"by":"expiry"`); n != 1 {
		t.Errorf("%d events tell of the expiry", n)
	}
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		name, policy, prompt, by string
		done                     bool
	}{
		{"allow", `{"default":"allow"}`, "write a.txt with x", "policy", true},
		{"reject", `{"default":"reject"}`, "write a.txt with x", "policy", false},
		{"path", `{"default":"reject","rules":[{"kind":"edit","path":"*.txt","decision":"allow"}]}`, "write a.txt with x", "policy", true},
		{"other path", `{"default":"reject","rules":[{"path":"src/**","decision":"allow"}]}`, "write a.txt with x", "policy", false},
		{"command", `{"default":"reject","rules":[{"command":"touch *","decision":"allow"}]}`, "run `touch a.txt`", "policy", true},
		{"chained command", `{"default":"reject","rules":[{"command":"true *","decision":"allow"}]}`, "run `true ; touch a.txt`", "policy", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, "", api.Limits{})
			s := r.create(`{"agent":"keeper","permissions":` + test.policy + `}`)
			r.prompt(s.ID, test.prompt)
			_, err := os.Stat(filepath.Join(r.home, "a.txt"))
			if (err == nil) != test.done {
				t.Errorf("done: %v, want %v", err == nil, test.done)
			}
			if n := count(r.events(s.ID), `"by":"`+test.by+`"`); n != 1 {
				t.Errorf("%d answers by %s", n, test.by)
			}
		})
	}
}

// TestCancel ends turns of agents that obey and of agents that do not.
func TestCancel(t *testing.T) {
	for _, test := range []struct {
		prompt string
		forced bool
	}{{"/silence", false}, {"/hang", true}} {
		t.Run(test.prompt, func(t *testing.T) {
			r := start(t, "", api.Limits{CancelTimeoutMs: 300})
			if !test.forced {
				r = start(t, "", api.Limits{})
			}
			s := r.create(`{"agent":"keeper"}`)
			r.prompt(s.ID, "remember this")
			turn := make(chan api.SessionTurn, 1)
			go func() {
				var ended api.SessionTurn
				if err := r.send(context.Background(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody(test.prompt, ""), &ended); err != nil {
					t.Errorf("prompt: %v", err)
				}
				turn <- ended
			}()
			r.awaitPrompt(s.ID, test.prompt)
			r.promptAsync(s.ID, "never", `,"queue":true`)
			var result api.SessionCancelResult
			r.do("POST", "/v1/sessions/"+s.ID+"/cancel", "", &result)
			if result.Cancelled != 2 || result.Forced != test.forced {
				t.Errorf("cancel: %+v", result)
			}
			if ended := <-turn; ended.StopReason != "cancelled" {
				t.Errorf("the turn ended with %+v", ended)
			}
			if got := r.prompt(s.ID, "what did i say"); !strings.Contains(got.Text, "remember this") {
				t.Errorf("the agent says %q", got.Text)
			}
			events := r.events(s.ID)
			if queued, n := count(events, `"never"`), count(events, api.EventPromptDropped); queued != 1 || n != 1 {
				t.Errorf("the queued prompt is in %d events and dropped in %d", queued, n)
			}
		})
	}
}

// TestCancelDeaf stops an agent that has ceased to read.
func TestCancelDeaf(t *testing.T) {
	r := start(t, "", api.Limits{CancelTimeoutMs: 200})
	s := r.create(`{"agent":"keeper"}`)
	r.prompt(s.ID, "/deaf")
	r.promptAsync(s.ID, "hello", "")
	r.awaitPrompt(s.ID, "hello")
	var result api.SessionCancelResult
	r.do("POST", "/v1/sessions/"+s.ID+"/cancel", "", &result)
	if !result.Forced {
		t.Errorf("cancel: %+v", result)
	}
	if turn := r.prompt(s.ID, "back again"); turn.StopReason != "end_turn" {
		t.Errorf("the turn ended with %+v", turn)
	}
}

// TestCancelUnsent cancels a prompt that an idle agent could have had at once, but
// did not get as it was busy with a setting: the prompt was taken, so it is kept.
func TestCancelUnsent(t *testing.T) {
	r := start(t, "", api.Limits{})
	id := r.create(`{"agent":"keeper"}`).ID
	r.prompt(id, "/deaf")
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = r.send(ctx, "POST", "/v1/sessions/"+id+"/model", `{"model":"mock-fast"}`, nil) })
	r.awaitPrompt(id, "session/set_config_option")
	all.Go(func() { r.promptAsync(id, "these words", "") })
	r.awaitStatus(id, api.SessionRunning)
	r.do("POST", "/v1/sessions/"+id+"/cancel", "", nil)
	stop()
	all.Wait()
	if n := count(r.events(id), "these words"); n != 1 {
		t.Errorf("%d events have the prompt", n)
	}
}

func TestQueue(t *testing.T) {
	r := start(t, "", api.Limits{MaxQueuedPrompts: 2})
	s := r.create(`{"agent":"keeper"}`)
	r.promptAsync(s.ID, "/permission", "")
	p := r.awaitPermission(s.ID)
	r.promptAsync(s.ID, "second", `,"queue":true`)
	r.promptAsync(s.ID, "third", `,"queue":true`)
	for _, more := range []string{"", `,"queue":true`} {
		err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody("too much", more), nil)
		if !errors.Is(err, api.CodeSessionBusy) {
			t.Errorf("prompt%s: %v", more, err)
		}
	}
	if now := r.get(s.ID); now.Queued != 2 || now.Status != api.SessionWaiting || now.Turn == "" {
		t.Errorf("queued %d, %s", now.Queued, now.Status)
	}
	r.do("POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, `{"reply":"once"}`, nil)
	r.awaitStatus(s.ID, api.SessionIdle)
	var order []string
	events := r.events(s.ID)
	if queued, started := count(events, api.EventPromptQueued), count(events, api.EventTurnStarted); queued != 2 || started != 2 {
		t.Errorf("%d prompts were queued and %d started", queued, started)
	}
	for _, e := range events {
		for _, word := range []string{"second", "third"} {
			if e.Sender == "client" && strings.Contains(string(e.Payload), `"`+word+`"`) {
				order = append(order, word)
			}
		}
	}
	if strings.Join(order, " ") != "second third" {
		t.Errorf("sent in the order %v", order)
	}
}

// TestTitle has a client and two sessions of the agent call the session something.
func TestTitle(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"plain","title":"mine"}`)
	is := func(want string) {
		t.Helper()
		await(t, "the title "+want, func() bool { return r.get(s.ID).Title == want })
	}
	r.prompt(s.ID, "birds")
	is("mine")
	r.do("PATCH", "/v1/sessions/"+s.ID, `{"title":""}`, nil)
	is("of birds")
	r.prompt(s.ID, "bees")
	is("of bees")
	if err := syscall.Kill(r.pid(s.ID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(s.ID, api.SessionStopped)
	r.prompt(s.ID, "go on")
	is("of bees")
}

// TestUsage counts what turns tell.
func TestUsage(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper"}`)
	total := int64(0)
	for range 3 {
		total += r.prompt(s.ID, "hello").Usage.TotalTokens
	}
	if now := r.get(s.ID); now.Usage.TotalTokens != total || now.Usage.ContextSize != 200_000 {
		t.Errorf("usage %+v, want %d tokens", now.Usage, total)
	}
}

func TestListPages(t *testing.T) {
	r := start(t, "", api.Limits{IdleTimeoutMs: -1})
	want := map[string]bool{}
	for i := range 7 {
		want[r.create(fmt.Sprintf(`{"agent":"plain","id":"s%d"}`, i)).ID] = true
	}
	for _, by := range []string{"cursor", "page"} {
		seen, cursor, list := map[string]bool{}, "", api.SessionList{}
		for page := 1; ; page++ {
			list = api.SessionList{}
			query := fmt.Sprintf("page=%d", page)
			if by == "cursor" {
				query = "cursor=" + cursor
			}
			r.do("GET", "/v1/sessions?perPage=3&"+query, "", &list)
			for _, s := range list.Sessions {
				if seen[s.ID] || !want[s.ID] {
					t.Errorf("by %s: %s again", by, s.ID)
				}
				seen[s.ID] = true
			}
			if cursor = list.NextCursor; cursor == "" {
				break
			}
		}
		if len(seen) != len(want) || list.Total != len(want) {
			t.Errorf("by %s: saw %d of %d, total %d", by, len(seen), len(want), list.Total)
		}
	}
}

// TestPurgeAndCreate has a session take the id of one that is being purged, which
// somebody reads meanwhile.
func TestPurgeAndCreate(t *testing.T) {
	r := start(t, "", api.Limits{})
	const again = `{"agent":"keeper","id":"again"}`
	r.create(again)
	for range 5 {
		r.prompt("again", "/burst 20000")
		var purge, read sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		purge.Go(func() { r.do("DELETE", "/v1/sessions/again?purge=true", "", nil) })
		for _, what := range []string{"transcript", "events"} {
			read.Go(func() {
				for ctx.Err() == nil {
					if err := r.send(ctx, "GET", "/v1/sessions/again/"+what, "", nil); err != nil && ctx.Err() == nil && !errors.Is(err, api.CodeSessionNotFound) {
						t.Errorf("%s: %v", what, err)
					}
				}
			})
		}
		await(t, "the id to be free", func() bool { return r.send(ctx, "POST", "/v1/sessions", again, nil) == nil })
		purge.Wait()
		stop()
		read.Wait()
		if n := count(r.events("again"), `"session/new"`); n != 1 {
			t.Fatalf("%d events of its beginning", n)
		}
	}
}

package session_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// TestRestore kills agents and servers, and expects sessions to go on as well as
// their agent allows.
func TestRestore(t *testing.T) {
	deaths := map[string]func(*rig, string) *rig{
		"agent killed": func(r *rig, id string) *rig {
			if err := syscall.Kill(r.pid(id), syscall.SIGKILL); err != nil {
				r.t.Fatal(err)
			}
			r.awaitStatus(id, api.SessionStopped)
			return r
		},
		"server restarted": func(r *rig, id string) *rig {
			r.stop()
			next := start(r.t, r.data, api.Limits{})
			if s := next.get(id); s.Status != api.SessionStopped || s.Title == "" {
				r.t.Errorf("after the restart: %+v", s)
			}
			if n := count(next.events(id), api.EventSessionStopped); n != 1 {
				r.t.Errorf("%d events tell of the stop", n)
			}
			return next
		},
	}
	for _, test := range []struct{ agent, how, want string }{
		{"keeper", api.RestoredResume, `You said before: "remember swordfish"`},
		{"loader", api.RestoredLoad, `You said before: "remember swordfish"`},
		{"plain", api.RestoredPrimed, "user: remember swordfish"},
	} {
		for name, kill := range deaths {
			t.Run(test.agent+"/"+name, func(t *testing.T) {
				r := start(t, "", api.Limits{})
				s := r.create(`{"agent":"` + test.agent + `"}`)
				first := r.prompt(s.ID, "remember swordfish")
				r = kill(r, s.ID)
				turn := r.prompt(s.ID, "what did i say")
				if !strings.Contains(turn.Text, test.want) {
					t.Errorf("the agent says %q, want %q", turn.Text, test.want)
				}
				now := r.get(s.ID)
				if now.Restored == nil || now.Restored.How != test.how {
					t.Errorf("restored %+v, want %s", now.Restored, test.how)
				}
				events := r.events(s.ID)
				if n := count(events, first.Text); test.agent != "plain" && n > 0 {
					t.Errorf("text in one event: %d", n)
				}
				if n := count(events, `"text":"remember swordfish"`); n > 2 { // the prompt, and an agent that repeats it
					t.Errorf("what was said is in %d events", n)
				}
				if n := count(events, api.EventSessionRestored); n != 1 {
					t.Errorf("%d events tell of the restoring", n)
				}
				var script api.SessionTranscript
				r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &script)
				said := 0
				for _, m := range script.Messages {
					if m.Role == "user" {
						said++
						if strings.Contains(m.Text, "earlier session") {
							t.Errorf("the primer is in the transcript: %q", m.Text)
						}
					}
				}
				if said != 2 {
					t.Errorf("the transcript has %d messages of the user: %+v", said, script.Messages)
				}
				if c := now.Usage.Cost; test.agent == "plain" && (c == nil || c.Amount != 2) {
					t.Errorf("two prompts have cost %+v", c)
				}
				if test.how == api.RestoredPrimed {
					if turn := r.prompt(s.ID, "and now"); strings.Contains(turn.Text, "swordfish") {
						t.Errorf("told again: %q", turn.Text)
					}
				}
			})
		}
	}
}

// TestRestoreAfterCrash has the agent die in the middle of a turn.
func TestRestoreAfterCrash(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper","mode":"plan","thoughtLevel":"high"}`)
	r.prompt(s.ID, "one")
	err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody("/crash 7", ""), nil)
	if !errors.Is(err, api.CodeAgentProcessExited) {
		t.Fatalf("crash: %v", err)
	}
	if turn := r.prompt(s.ID, "what did i say"); !strings.Contains(turn.Text, `"one"`) {
		t.Errorf("the agent says %q", turn.Text)
	}
	if now := r.get(s.ID); now.Mode != "plan" || now.ThoughtLevel != "high" || now.Reason != "" {
		t.Errorf("restored as %+v", now)
	}
}

// TestUnreadPrompt kills an agent that has been given a prompt and has read none
// of it. The next agent gets it, and the events tell it once.
func TestUnreadPrompt(t *testing.T) {
	for _, agent := range []string{"keeper", "loader", "plain"} {
		for name, text := range map[string]string{"small": "go on", "more than a pipe holds": strings.Repeat("go on ", 30_000)} {
			t.Run(agent+"/"+name, func(t *testing.T) {
				r := start(t, "", api.Limits{})
				s := r.create(`{"agent":"` + agent + `"}`)
				r.prompt(s.ID, "remember swordfish")
				pid := r.freeze(s.ID)
				var turn api.SessionTurn
				done := make(chan error, 1)
				go func() {
					done <- r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/prompt", promptBody(text, ""), &turn)
				}()
				r.awaitPrompt(s.ID, "go on")
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if turn.StopReason != "end_turn" || turn.Text == "" {
					t.Errorf("the turn ended as %+v", turn)
				}
				if n := strings.Count(turn.Text, text); n > 1 {
					t.Errorf("the agent was told the prompt %d times", n)
				}
				var of []string // the events of the turn
				for _, e := range r.events(s.ID)[turn.FirstEvent-1 : turn.LastEvent] {
					for _, kind := range []string{`"session/prompt"`, api.EventSessionStopped, api.EventSessionRestored, api.EventPromptResent, `"stopReason"`} {
						if strings.Contains(string(e.Payload), kind) {
							of = append(of, kind)
						}
					}
				}
				want := []string{`"session/prompt"`, api.EventSessionStopped, api.EventSessionRestored, api.EventPromptResent, `"stopReason"`}
				if !slices.Equal(of, want) {
					t.Errorf("the events of the turn are %q", of)
				}
				var script api.SessionTranscript
				r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &script)
				said := 0
				for _, m := range script.Messages {
					if m.Role == "user" && m.Text == text {
						said++
					}
				}
				if said != 1 {
					t.Errorf("the prompt is %d times in the transcript", said)
				}
			})
		}
	}
}

// freeze stops the agent of a session, which then reads nothing, and returns its
// process.
func (r *rig) freeze(id string) (pid int) {
	r.t.Helper()
	pid = r.pid(id)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	await(r.t, "the agent to stand still", func() bool { return still(pid) })
	return pid
}

// still reports whether every thread of a process is stopped.
func still(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
		data, err := os.ReadFile(path)
		return err != nil || !strings.Contains(string(data), ") T ")
	})
}

// TestServerKilled kills the server while sessions work, ask and have prompts
// that wait. The next one tells of each that it has ended, and loses no words.
func TestServerKilled(t *testing.T) {
	data, home := t.TempDir(), t.TempDir()
	server := spawn(t, data, home)
	r := &rig{t: t, url: server.url, data: data, home: home, http: &http.Client{Transport: &http.Transport{}}}
	defer r.http.CloseIdleConnections()
	works := r.create(`{"agent":"keeper"}`).ID
	r.promptAsync(works, "/silence", "")
	r.promptAsync(works, "words that wait", `,"queue":true`)
	turn := r.get(works).Turn
	asks := r.create(`{"agent":"keeper"}`).ID
	r.promptAsync(asks, "write a.txt with x", "")
	p := r.awaitPermission(asks)
	idle := r.create(`{"agent":"keeper"}`).ID
	r.prompt(idle, "hello")
	taken := r.create(`{"agent":"keeper"}`).ID
	r.promptAsync(taken, "/silence", "")
	resent := r.create(`{"agent":"keeper"}`).ID
	pid := r.freeze(resent)
	r.promptAsync(resent, "/silence", "")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the prompt to go to another agent", func() bool { return count(r.events(resent), api.EventPromptResent) > 0 })
	if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-server.Done()
	server = spawn(t, data, home)
	defer func() {
		server.Stdin.Close()
		<-server.Done()
	}()
	r.url = server.url
	for _, want := range []struct {
		id, event string
		n         int
	}{
		{works, `"_session/turn_ended","params":{"turn":"` + turn + `","error":"the server ended"}`, 1},
		{works, api.EventTurnEnded, 1},
		{works, api.EventPromptDropped, 1},
		{asks, `"permissionId":"` + p.ID + `","reply":"cancel","by":"agent"`, 1},
		{asks, api.EventTurnEnded, 1},
		{taken, `"text":"/silence"`, 1},
		{resent, `"text":"/silence"`, 1},
		{resent, api.EventTurnEnded, 1},
		{idle, api.EventTurnEnded, 0},
		{idle, api.EventSessionStopped, 1},
	} {
		if n := count(r.events(want.id), want.event); n != want.n {
			t.Errorf("%d events are %s, want %d", n, want.event, want.n)
		}
	}
	var script api.SessionTranscript
	r.do("GET", "/v1/sessions/"+works+"/transcript?format=json", "", &script)
	if n := len(script.Messages); n < 2 || script.Messages[n-2].Text != "words that wait" {
		t.Errorf("the transcript is %+v", script.Messages)
	}
	err := r.send(t.Context(), "POST", "/v1/sessions/"+asks+"/permissions/"+p.ID, `{"reply":"once"}`, nil)
	if !errors.Is(err, api.CodePermissionResolved) {
		t.Errorf("a late answer: %v", err)
	}
	for _, id := range []string{works, asks, idle, taken, resent} {
		if turn := r.prompt(id, "/echo on"); turn.Text != "on" {
			t.Errorf("the agent says %q", turn.Text)
		}
	}
}

func TestPrimerKeepsTheNewest(t *testing.T) {
	r := start(t, "", api.Limits{MaxPrimerBytes: 400})
	s := r.create(`{"agent":"plain"}`)
	for i := range 20 {
		r.prompt(s.ID, fmt.Sprintf("word-%d", i))
	}
	if err := syscall.Kill(r.pid(s.ID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.awaitStatus(s.ID, api.SessionStopped)
	turn := r.prompt(s.ID, "go on")
	if !strings.Contains(turn.Text, "word-19") || strings.Contains(turn.Text, "word-1]") || !strings.Contains(turn.Text, "[earlier part left out]") {
		t.Errorf("told %q", turn.Text)
	}
	if !strings.HasSuffix(turn.Text, "[1:go on]") {
		t.Errorf("the prompt is not the last block: %q", turn.Text)
	}
}

func TestIdleAgentIsStopped(t *testing.T) {
	r := start(t, "", api.Limits{IdleTimeoutMs: 20})
	s := r.create(`{"agent":"keeper"}`)
	r.prompt(s.ID, "hello")
	await(t, "the agent to be stopped", func() bool {
		now := r.get(s.ID)
		return now.Status == api.SessionStopped && now.Reason == "idle"
	})
	if pid := r.pid(s.ID); pid != 0 {
		t.Errorf("agent %d runs", pid)
	}
	if turn := r.prompt(s.ID, "what did i say"); !strings.Contains(turn.Text, "hello") {
		t.Errorf("the agent says %q", turn.Text)
	}
}

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
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		all = append(all, data)
		if stop(data) {
			break
		}
	}
	return all
}

func TestFirstAnswerWins(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper"}`)
	r.promptAsync(s.ID, "/permission", "")
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

// TestAgentDiesOfSetting has the agent die while a setting is made.
func TestAgentDiesOfSetting(t *testing.T) {
	r := start(t, "", api.Limits{})
	id := r.create(`{"agent":"keeper"}`).ID
	if err := syscall.Kill(r.pid(id), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var s api.Session
	var set sync.WaitGroup
	set.Go(func() { r.do("POST", "/v1/sessions/"+id+"/model", `{"model":"mock-fast"}`, &s) })
	r.awaitPrompt(id, "session/set_config_option")
	if err := syscall.Kill(r.pid(id), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if set.Wait(); s.Model != "mock-fast" {
		t.Errorf("model %q", s.Model)
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

package session_test

import (
	"errors"
	"fmt"
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
		{"keeper", api.RestoredResumed, `You said before: "remember swordfish"`},
		{"loader", api.RestoredLoaded, `You said before: "remember swordfish"`},
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
	r := of(t, server, data, home)
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
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	server = spawn(t, data, home)
	r.url = server.URL
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
	if !strings.Contains(turn.Text, "word-19") || strings.Contains(turn.Text, "word-1]") || !strings.Contains(turn.Text, "[the earlier part is left out]") {
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

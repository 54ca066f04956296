package session_test

import (
	"bufio"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// trim drops all but the newest events of a server that is stopped.
func trim(t *testing.T, data string, keep journal.Retention) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(data, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{Retention: keep})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// TestRetention drops the beginning of a session. Every way to read it says what
// is missing, and it goes on.
func TestRetention(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"plain"}`)
	r.prompt(s.ID, "the first words")
	for range 1000 {
		r.prompt(s.ID, "more")
	}
	r.stop()
	trim(t, r.data, journal.Retention{MaxEntries: 100})

	r = start(t, r.data, api.Limits{})
	var page api.SessionEvents
	r.do("GET", "/v1/sessions/"+s.ID+"/events", "", &page)
	if page.Gap == nil || page.Gap.From != 1 || page.Gap.To < 1000 || len(page.Events) == 0 || page.Events[0].EventIndex != page.Gap.To+1 {
		t.Fatalf("the first page has %d events and the gap %+v", len(page.Events), page.Gap)
	}
	next := page.Gap.To + 1
	for n := 1; ; n++ {
		var page api.SessionEvents
		r.do("GET", fmt.Sprintf("/v1/sessions/%s/events?page=%d&perPage=10", s.ID, n), "", &page)
		if len(page.Events) == 0 {
			break
		}
		for _, e := range page.Events {
			if e.EventIndex != next || page.Page != n {
				t.Fatalf("page %d, called %d, has event %d, want %d", n, page.Page, e.EventIndex, next)
			}
			next++
		}
	}
	if next != r.get(s.ID).LastEvent+1 {
		t.Errorf("the pages end before event %d", next)
	}
	resp, err := r.http.Get(r.url + "/v1/sessions/" + s.ID + "/events/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "event: gap\n" {
		t.Errorf("the stream begins with %q, %v", line, err)
	}
	var script api.SessionTranscript
	r.do("GET", "/v1/sessions/"+s.ID+"/transcript?format=json", "", &script)
	if len(script.Messages) == 0 || !strings.Contains(script.Messages[0].Text, "no longer kept") {
		t.Errorf("the transcript begins with %+v", script.Messages[:1])
	}
	turn := r.prompt(s.ID, "go on")
	if strings.Contains(turn.Text, "the first words") || !strings.Contains(turn.Text, "user: more") {
		t.Errorf("the agent was told %.200q", turn.Text)
	}
}

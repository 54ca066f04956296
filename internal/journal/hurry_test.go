package journal_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// TestHurry says when entries are written: a frame of the agent at once, or at
// the end of a hold; a frame of a client with the next one of the agent, as soon
// as somebody waits for it, or after a moment.
func TestHurry(t *testing.T) {
	appendTo := func(stream string, dir journal.Direction) func(*testing.T, *journal.Journal) {
		return func(t *testing.T, j *journal.Journal) {
			if _, err := j.Append(stream, dir, []byte("frame")); err != nil {
				t.Error(err)
			}
		}
	}
	read := func(t *testing.T, j *journal.Journal) {
		go func() {
			if _, err := j.Reader("client", 0).Next(t.Context()); err != nil {
				t.Errorf("read: %v", err)
			}
		}()
		synctest.Wait()
	}
	wait := func(t *testing.T, j *journal.Journal) {
		go func() {
			if err := j.Wait(t.Context(), "client", 1); err != nil {
				t.Errorf("wait: %v", err)
			}
		}()
		synctest.Wait()
	}
	hold := func(_ *testing.T, j *journal.Journal) { j.Hold() }
	release := func(_ *testing.T, j *journal.Journal) { j.Release() }
	agent := appendTo("agent", journal.FromAgent)
	moment := func(*testing.T, *journal.Journal) { time.Sleep(20 * time.Millisecond) }
	client := appendTo("client", journal.FromClient)
	for _, test := range []struct {
		name  string
		steps []func(*testing.T, *journal.Journal)
		want  int64 // transactions
	}{
		{"alone", []func(*testing.T, *journal.Journal){client}, 0},
		{"a moment later", []func(*testing.T, *journal.Journal){client, client, moment}, 1},
		{"and again", []func(*testing.T, *journal.Journal){client, moment, client, moment}, 2},
		{"with the agent", []func(*testing.T, *journal.Journal){client, agent}, 1},
		{"with the agent on one stream", []func(*testing.T, *journal.Journal){client, appendTo("client", journal.FromAgent)}, 1},
		{"awaited after", []func(*testing.T, *journal.Journal){client, wait}, 1},
		{"read after", []func(*testing.T, *journal.Journal){client, read}, 1},
		{"read before", []func(*testing.T, *journal.Journal){read, client}, 1},
		{"held", []func(*testing.T, *journal.Journal){client, hold, agent}, 0},
		{"released", []func(*testing.T, *journal.Journal){client, hold, agent, agent, release}, 1},
		{"released by another", []func(*testing.T, *journal.Journal){client, hold, hold, agent, release}, 1},
		{"released with nothing to write", []func(*testing.T, *journal.Journal){client, hold, release}, 0},
		{"awaited in a hold", []func(*testing.T, *journal.Journal){hold, appendTo("client", journal.FromAgent), wait}, 1},
		{"read in a hold", []func(*testing.T, *journal.Journal){read, hold, appendTo("client", journal.FromAgent), release}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &flaky{Store: journal.Memory()}
				j := journaltest.Open(t, store, journal.Options{})
				for _, step := range test.steps {
					step(t, j)
				}
				synctest.Wait()
				if got := store.attempts.Load(); got != test.want {
					t.Errorf("%d transactions, want %d", got, test.want)
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				if info, err := store.Stream(t.Context(), "client"); err != nil || info.Last == 0 {
					t.Errorf("after Close the store has %+v, %v", info, err)
				}
			})
		})
	}
}

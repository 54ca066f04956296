package journal_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// TestClientFrames says when a frame of a client is written: with the next
// frame of the agent, as soon as somebody waits for it, or after a moment.
func TestClientFrames(t *testing.T) {
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
		{"with the agent", []func(*testing.T, *journal.Journal){client, appendTo("agent", journal.FromAgent)}, 1},
		{"with the agent on one stream", []func(*testing.T, *journal.Journal){client, appendTo("client", journal.FromAgent)}, 1},
		{"awaited after", []func(*testing.T, *journal.Journal){client, wait}, 1},
		{"awaited before", []func(*testing.T, *journal.Journal){wait, client}, 1},
		{"read after", []func(*testing.T, *journal.Journal){client, read}, 1},
		{"read before", []func(*testing.T, *journal.Journal){read, client}, 1},
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

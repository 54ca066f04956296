package sandboxagent_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/store/file"
	"github.com/sandboxagent/sandboxagent/store/memory"
)

// stored returns the events of a session in a store.
func stored(t testing.TB, store sandboxagent.SessionStore, id string) []api.SessionEvent {
	t.Helper()
	var all []api.SessionEvent
	for {
		after := uint64(0)
		if len(all) > 0 {
			after = all[len(all)-1].EventIndex
		}
		list, err := store.Events(testContext(t), id, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, list...); len(list) < 100 {
			return all
		}
	}
}

// sameAsServer holds what is stored to what the server has.
func sameAsServer(t testing.TB, s *sandboxagent.ServerSession, store sandboxagent.SessionStore) {
	t.Helper()
	got := stored(t, store, s.ID)
	for e, err := range s.History(testContext(t), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if i := int(e.EventIndex) - 1; i >= len(got) || got[i].ID != e.ID || !bytes.Equal(got[i].Payload, e.Payload) {
			t.Fatalf("event %d is not as on the server; %d events are stored", e.EventIndex, len(got))
		}
	}
}

func TestCopy(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	store, err := file.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	session := newServerSession(t, s.Client, api.SessionCreateRequest{ID: "copied"})
	for range 3 {
		mustPrompt(t, session, "/burst 200")
		if err := session.Copy(ctx, store); err != nil {
			t.Fatal(err)
		}
		sameAsServer(t, session, store)
	}
	info, err := session.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Session(ctx, "copied")
	if err != nil || kept.LastEvent != info.LastEvent || kept.Usage != info.Usage {
		t.Errorf("session is %+v, %v", kept, err)
	}
	if err := s.Sessions().Session("nobody").Copy(ctx, store); !errors.Is(err, sandboxagent.ErrSessionNotFound) {
		t.Errorf("copy of no session: %v", err)
	}
}

// failing is a store that fails after some events.
type failing struct {
	sandboxagent.SessionStore
	mu   sync.Mutex
	left int
}

var errFull = errors.New("store is full")

func (f *failing) PutEvent(ctx context.Context, e api.SessionEvent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left < 0 {
		return errFull
	}
	return f.SessionStore.PutEvent(ctx, e)
}

// Recorders that fail, are ended, and run at the same time leave each event
// once.
func TestRecord(t *testing.T) {
	s := newServer(t)
	store := memory.New(memory.Options{})
	session := newServerSession(t, s.Client, api.SessionCreateRequest{})
	mustPrompt(t, session, "/burst 100")
	if err := session.Record(testContext(t), &failing{SessionStore: store, left: 37}); !errors.Is(err, errFull) {
		t.Errorf("record into a full store: %v", err)
	}
	if got := len(stored(t, store, session.ID)); got != 37 {
		t.Errorf("%d events are stored, want 37", got)
	}
	ctx, stop := context.WithCancel(testContext(t))
	var recorders sync.WaitGroup
	for range 2 {
		recorders.Go(func() {
			if err := session.Record(ctx, store); err != nil {
				t.Error(err)
			}
		})
	}
	last := mustPrompt(t, session, "/burst 100").LastEvent
	waitFor(t, func() bool {
		kept, err := store.Session(testContext(t), session.ID)
		return err == nil && kept.LastEvent >= last && kept.Turn == "" && uint64(len(stored(t, store, session.ID))) >= last
	})
	stop()
	recorders.Wait()
	sameAsServer(t, session, store)
}

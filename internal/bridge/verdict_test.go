package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// gated is a store that writes the stream "slow" when it may.
type gated struct {
	journal.Store
	came chan struct{} // closed when it is asked to
	open chan struct{} // closed when it may
	once sync.Once
}

func (g *gated) AppendBlocks(ctx context.Context, blocks []journal.Block) error {
	for _, b := range blocks {
		if b.Stream == "slow" {
			g.once.Do(func() { close(g.came) })
			<-g.open
		}
	}
	return g.Store.AppendBlocks(ctx, blocks)
}

// TestReplyWaitsForItsCopy has an observer copy a reply that is on disk already,
// while the disk is busy with something else.
func TestReplyWaitsForItsCopy(t *testing.T) {
	store := &gated{Store: journal.Memory(), came: make(chan struct{}), open: make(chan struct{})}
	f := newFixtureOn(t, store, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	streams, err := f.journal.Streams(t.Context(), "acp/s/")
	if err != nil || len(streams) == 0 {
		t.Fatalf("streams %v, %v", streams, err)
	}
	own := streams[0].Name // the first is of the agent
	f.reads = func(e bridge.Event) (v bridge.Verdict) {
		if e.Msg.Kind != acp.Response {
			return v
		}
		last, err := f.journal.Last(own)
		if err == nil {
			err = f.journal.Wait(t.Context(), own, last)
		}
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"slow", "copy"} {
			if v.Seq, err = f.journal.Append(name, journal.FromAgent, []byte("{}")); err != nil {
				t.Error(err)
			}
			if name == "slow" {
				go f.journal.Wait(t.Context(), name, v.Seq)
				<-store.came
			}
		}
		v.Stream = "copy"
		return v
	}
	replied := make(chan struct{})
	go func() {
		defer close(replied)
		f.mustPost("s", "", `{"id":2,"method":"x"}`)
	}()
	<-store.came
	select {
	case <-replied:
		t.Error("a reply is given whose copy is not on disk")
	case <-time.After(100 * time.Millisecond): // as long as the test has patience with a fault
	}
	close(store.open)
	<-replied
}

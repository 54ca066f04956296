package session

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// TestForget lets go of connections whether the agent ends before or after they
// are closed.
func TestForget(t *testing.T) {
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	m, err := New(Config{Journal: j, CWD: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.Background())
	exit := bridge.Event{Server: "c", From: journal.FromAgent, Exit: api.NewError(api.KindAgentProcessExited, "", "a")}
	frame := bridge.Event{Server: "c", From: journal.FromClient, Msg: acp.Message{Kind: acp.Notification}}
	for name, steps := range map[string][]func(){
		"closed, then ended": {func() { m.Observe(frame) }, func() { m.Forget("c") }, func() { m.Observe(exit) }},
		"ended, then closed": {func() { m.Observe(frame) }, func() { m.Observe(exit) }, func() { m.Forget("c") }},
	} {
		for i, step := range steps {
			if step(); len(m.links) != 1 && i < len(steps)-1 {
				t.Errorf("%s: forgotten after step %d", name, i+1)
			}
		}
		if len(m.links) != 0 {
			t.Errorf("%s: still known", name)
		}
	}
}

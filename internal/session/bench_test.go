package session

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

func benchManager(b *testing.B) *Manager {
	b.Helper()
	store, err := sqlite.Open(filepath.Join(b.TempDir(), "journal.db"))
	if err != nil {
		b.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	m, err := New(Config{Journal: j, CWD: "/"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			b.Log(err)
		}
		if err := j.Close(); err != nil {
			b.Error(err)
		}
	})
	return m
}

// BenchmarkObserve is what a frame of an agent costs on its way.
func BenchmarkObserve(b *testing.B) {
	for _, kind := range []string{acp.UpdateAgentMessage, acp.UpdateAgentThought} {
		b.Run(kind, func(b *testing.B) {
			m := benchManager(b)
			see := func(from journal.Direction, frame string) {
				msg, err := acp.Parse([]byte(frame))
				if err != nil {
					b.Fatal(err)
				}
				m.Observe(bridge.Event{Server: "c", Agent: "a", From: from, Msg: msg, Frame: []byte(frame)})
			}
			see(journal.FromClient, `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/"}}`)
			see(journal.FromAgent, `{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s"}}`)
			frame := []byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"%s","content":{"type":"text","text":"%0100d"}}}}`, kind, 1))
			msg, err := acp.Parse(frame)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				m.Observe(bridge.Event{Server: "c", Agent: "a", From: journal.FromAgent, Msg: msg, Frame: frame})
			}
		})
	}
}

// BenchmarkList lists a page of many sessions.
func BenchmarkList(b *testing.B) {
	m := benchManager(b)
	for i := range 10_000 {
		m.index(newSession(m, record{ID: fmt.Sprintf("s%05d", i), Agent: "a", CreatedAt: int64(i), First: "hello"}))
	}
	for b.Loop() {
		if list, err := m.List(Query{Limit: 50}); err != nil || len(list.Sessions) != 50 {
			b.Fatal(err)
		}
	}
}

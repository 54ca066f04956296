//go:build conformance && postgres

package server_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/server"
	"github.com/sandboxagent/sandboxagent/internal/testkit/postgres"
)

// TestPostgresKeepsEvents runs a server on PostgreSQL, and another after it.
func TestPostgresKeepsEvents(t *testing.T) {
	db, err := postgres.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // behind the servers
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := server.Config{Journal: db.URL("postgres"), DataDir: t.TempDir()}
	in := start(t, cfg)
	in.mockSession(t, "s")
	in.stop()

	again := start(t, cfg)
	zero := uint64(0)
	all := again.events(t, "/v1/acp/s", &zero, nil, func(e event) bool { return strings.Contains(e.data, "agent_exited") })
	contiguous(t, 0, all)
	if len(all) < 3 {
		t.Errorf("only %d events survived", len(all))
	}
}

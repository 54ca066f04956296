//go:build conformance

package server_test

import (
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/journal/postgres"
	testpostgres "github.com/sandboxagent/sandboxagent/internal/testkit/postgres"
)

// TestPostgresKeepsEvents runs a server on PostgreSQL, and another after it.
func TestPostgresKeepsEvents(t *testing.T) {
	db, err := testpostgres.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // behind the servers
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	data := t.TempDir()
	open := func() app.Config {
		store, err := postgres.Open(t.Context(), db.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		return app.Config{Store: store, DataDir: data}
	}
	in := start(t, open())
	in.mockSession(t, "s")
	in.check(t, scenario{method: "POST", path: "/v1/sessions/import", header: linesBody, body: sessionFile([]string{"moved"}, 50, 100), status: 200})
	in.check(t, scenario{method: "PUT", path: "/v1/sessions/moved/mcp/config", header: jsonBody, body: `{"mcpServers":{}}`, status: 204})
	in.stop()

	again := start(t, open())
	file := again.check(t, scenario{path: "/v1/sessions/export?ids=moved", status: 200, want: []string{`"kind":"session-config","id":"moved/mcp"`}})
	if got := eventsIn(t, file); got["moved"] != 50 {
		t.Errorf("the export has %d events", got["moved"])
	}
	zero := uint64(0)
	all := again.events(t, "/v1/acp/s", &zero, nil, func(e event) bool { return strings.Contains(e.Data, "agent_exited") })
	contiguous(t, 0, all)
	if len(all) < 3 {
		t.Errorf("only %d events survived", len(all))
	}
}

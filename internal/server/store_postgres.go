//go:build postgres

package server

import (
	"context"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/postgres"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// connectWait is how long a database may take to answer at the start.
const connectWait = 30 * time.Second

// openStore opens the store of the journal: a database at a URL, or a file.
func openStore(location string) (journal.Store, error) {
	if !strings.HasPrefix(location, "postgres://") && !strings.HasPrefix(location, "postgresql://") {
		return sqlite.Open(location)
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectWait)
	defer cancel()
	return postgres.Open(ctx, location)
}

//go:build !postgres

package server

import (
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// openStore opens the store of the journal. The program for sandboxes has no
// PostgreSQL in it, which would be a sixth of its size; the build tag postgres
// makes one for hosts that are trusted with a database.
func openStore(location string) (journal.Store, error) { return sqlite.Open(location) }

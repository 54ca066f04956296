package journal_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	journaltest.Run(t, func(testing.TB) func() journal.Store {
		store := journal.Memory()
		return func() journal.Store { return store }
	})
}

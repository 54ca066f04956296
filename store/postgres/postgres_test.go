//go:build conformance

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent"
	server "github.com/sandboxagent/sandboxagent/internal/testkit/postgres"
	"github.com/sandboxagent/sandboxagent/store/postgres"
	"github.com/sandboxagent/sandboxagent/store/storetest"
)

var shared *server.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = server.Start(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := errors.Join(shared.Close(), goleak.Find()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// schemas counts those that tests have made.
var schemas atomic.Int64

func TestStore(t *testing.T) {
	storetest.Run(t, func(t testing.TB) func() sandboxagent.SessionStore {
		schema := fmt.Sprintf("store_%d", schemas.Add(1))
		if err := shared.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
			t.Fatal(err)
		}
		return func() sandboxagent.SessionStore {
			s, err := postgres.Open(t.Context(), shared.URL("postgres")+"&search_path="+schema)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

func TestOpenFails(t *testing.T) {
	for _, url := range []string{"postgres://%zz", shared.URL("no_such_database")} {
		if s, err := postgres.Open(t.Context(), url); err == nil {
			t.Errorf("opened %s: %v", url, s)
		}
	}
}

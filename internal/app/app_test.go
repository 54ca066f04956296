package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, r *app.Running, path, token string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

func TestStartServesThisProgramAlone(t *testing.T) {
	cfg := app.Config{DataDir: t.TempDir(), Home: t.TempDir(), Version: "1.2.3", Limits: api.Limits{MaxSessions: 7}}
	r, err := app.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var version api.Version
	if status := get(t, r, "/v1/version", r.Token, &version); status != 200 || version.Version != "1.2.3" {
		t.Errorf("version %+v, status %d", version, status)
	}
	if status := get(t, r, "/v1/version", "another", nil); status != 401 {
		t.Errorf("status %d with another token", status)
	}
	var limits api.Limits
	get(t, r, "/v1/limits", r.Token, &limits)
	if limits.MaxSessions != 7 || limits.MaxBodyBytes == 0 {
		t.Errorf("limits %+v", limits)
	}
	if _, err := app.Open(cfg); !errors.Is(err, api.CodeDataLocked) {
		t.Errorf("a second server on the data: %v", err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	again, err := app.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// closing is a store that knows whether it was closed.
type closing struct {
	journal.Store
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return c.Store.Close()
}

func TestStoreIsAValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "elsewhere.db")
	inner, err := sqlite.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	store := &closing{Store: inner}
	data := t.TempDir()
	srv, err := app.Open(app.Config{DataDir: data, Home: data, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if !store.closed {
		t.Error("the store is left open")
	}
	if _, err := os.Stat(filepath.Join(data, "journal.db")); err == nil {
		t.Error("there is a journal in the data directory as well")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("no journal"), 0o600); err != nil {
		t.Fatal(err)
	}
	for journal, want := range map[string]error{
		"postgres://localhost/x": api.CodeNotSupported,
		file:                     api.CodeDataCorrupt,
	} {
		if _, err := app.Open(app.Config{DataDir: dir, Home: dir, Journal: journal}); !errors.Is(err, want) {
			t.Errorf("journal %s: %v, want %v", journal, err, want)
		}
	}
}

// A client may ask the server to end, as long as it is told how.
func TestClientEndsServer(t *testing.T) {
	r, err := app.Start(app.Config{DataDir: t.TempDir(), Home: t.TempDir(), Token: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Token != "mine" {
		t.Errorf("token %q", r.Token)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, r.URL+"/v1/sandbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer mine")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

// childEnv makes the test binary run as a writer that is to be killed.
const childEnv = "JOURNAL_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := write(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(fullEnv); dir != "" {
		if err := fullDisk(os.Getenv(fullEnv+"_DO"), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func mustOpen(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(path)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	return s
}

// lazy leaves blocks in the tail as long as it can, and busy takes them out at
// once; neither changes blocks, at which the suite looks.
var (
	lazy = tuning{every: time.Hour, full: 1 << 20, bound: 8 << 20, retry: time.Millisecond, join: true}
	busy = tuning{every: 50 * time.Microsecond, full: 1, bound: 1, retry: time.Millisecond}
)

func mustOpenTuned(tb testing.TB, path string, tuning tuning) *Store {
	tb.Helper()
	s, err := openTuned(path, tuning)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	return s
}

func TestStore(t *testing.T) {
	for name, tuning := range map[string]tuning{"lazy": lazy, "busy": busy} {
		t.Run(name, func(t *testing.T) {
			journaltest.Run(t, func(tb testing.TB) func() journal.Store {
				path := filepath.Join(tb.TempDir(), "data", "journal.db")
				return func() journal.Store { return mustOpenTuned(tb, path, tuning) }
			})
		})
	}
}

func TestOpenModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new folder", "a?b%20#.db")
	s := mustOpen(t, path)
	defer s.Close()
	if err := s.PutRecord(t.Context(), "k", "id", nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + lockSuffix: 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
}

// TestCreate makes a journal where an earlier attempt was killed, and opens it
// again, which writes nothing.
func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	left := filepath.Join(filepath.Dir(path), ".journal.db.7.new")
	if err := os.WriteFile(left, bytes.Repeat([]byte("longer than a journal "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	if err := s.PutRecord(t.Context(), "k", "id", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	if data, err := s.GetRecord(t.Context(), "k", "id"); err != nil || string(data) != "kept" {
		t.Errorf("record: %q, %v", data, err)
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("log after opening: %v, %v, want nothing in it", info, err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Errorf("left: %s", left)
	}
}

var update = flag.Bool("update", false, "make empty.db anew")

// TestEmpty compares the empty journal with what the migrations make of nothing.
func TestEmpty(t *testing.T) {
	migrated := filepath.Join(t.TempDir(), "journal.db")
	db, err := connect(migrated, "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)")
	if err == nil {
		err = errors.Join(migrate(t.Context(), db, migrated), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		data, err := os.ReadFile(migrated)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("empty.db", data, 0o644); err != nil {
			t.Fatal(err)
		}
		empty = data
	}
	made := filepath.Join(t.TempDir(), "journal.db")
	if err := os.WriteFile(made, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"SELECT group_concat(sql, ';') FROM sqlite_schema ORDER BY name",
		"SELECT group_concat(version_id || ' ' || is_applied) FROM goose_db_version",
		"PRAGMA user_version", "PRAGMA auto_vacuum", "PRAGMA journal_mode", "PRAGMA page_size",
	} {
		if got, want := ask(t, made, query), ask(t, migrated, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// ask returns the answer of a database file to a query, as text.
func ask(t *testing.T, path, query string) (answer string) {
	t.Helper()
	db, err := connectAs("ro", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func TestHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	if Held(path) {
		t.Error("a journal that is not there is held")
	}
	s := mustOpen(t, path)
	if !Held(path) {
		t.Error("an open journal is not held")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if Held(path) {
		t.Error("a closed journal is held")
	}
}

func TestOpenWaitsForStoreThatIsEnding(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	first := mustOpen(t, path)
	if err := first.Ending(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(lockWait+100*time.Millisecond, func() { closed <- first.Close() }) // after one that is not ending is given up
	second := mustOpen(t, path)
	if err := errors.Join(<-closed, second.Close()); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    api.Code
	}{
		"locked": {func(t *testing.T, path string) {
			s := mustOpen(t, path)
			t.Cleanup(func() { s.Close() })
		}, api.CodeDataLocked},
		"not a database": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, api.CodeDataCorrupt},
		"other tables": {func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE streams (x); PRAGMA user_version = 1")
		}, api.CodeDataCorrupt},
		"damaged": {func(t *testing.T, path string) {
			if err := mustOpen(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 4096; i < len(data); i++ {
				data[i] = 0xa5
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, api.CodeDataCorrupt},
		"newer": {func(t *testing.T, path string) {
			execute(t, path, "PRAGMA user_version = 1000")
		}, api.CodeDataTooNew},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			test.prepare(t, path)
			s, err := Open(path)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("open: %v, want code %s", err, test.want)
			}
		})
	}
}

func TestOpenURL(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Open("postgres://user:secret@host/db"); !errors.Is(err, api.CodeNotSupported) || strings.Contains(err.Error(), "secret") {
		t.Errorf("open of a URL: %v", err)
	}
}

func execute(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// write appends without end, and prints each number that a reader has seen.
func write(path string) error {
	var every int
	if _, err := fmt.Sscanf(path, "%d ", &every); err != nil {
		return err
	}
	_, path, _ = strings.Cut(path, " ")
	tuning := defaultTuning
	tuning.every = time.Duration(every)
	store, err := openTuned(path, tuning)
	if err != nil {
		return err
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		return err
	}
	last, err := j.Last("a")
	if err != nil {
		return err
	}
	ctx, r := context.Background(), j.Reader("a", last)
	go func() {
		for seq := last + 1; ; seq++ {
			if _, err := j.Append("a", journal.FromAgent, fmt.Appendf(nil, "a %d", seq)); err != nil {
				return
			}
		}
	}()
	for {
		b, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Println(b.Entries[len(b.Entries)-1].Seq); err != nil {
			return err
		}
	}
}

// TestKill kills a writer at full speed, again and again, and looks for what
// its readers have seen.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	seen := uint64(0)
	for round := range 24 {
		every := []time.Duration{1, time.Millisecond, 10 * time.Millisecond, time.Hour}[round%4]
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", childEnv, every, path))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, lines := seen, bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if seen, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if n == 20*(round%8+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || seen <= before {
			t.Fatalf("writer ended by itself at %d: %v", seen, err)
		}
		j := journaltest.Open(t, mustOpen(t, path), journal.Options{})
		_, last, err := j.Bounds("a")
		if err != nil || last < seen {
			t.Fatalf("round %d: readers had seen %d, there are %d, %v", round, seen, last, err)
		}
		if err := journaltest.Follow(t.Context(), j, "a", 0, last, 0); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		seen = last
	}
}

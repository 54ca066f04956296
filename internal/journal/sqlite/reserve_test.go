package sqlite

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

func TestReservedNumbersAreUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	s := mustOpenTuned(t, path, lazy)
	mustAppend(t, s, numbered("stored", 1, 3), numbered("tail", 1, 3), numbered("ahead", 1, 9))
	if err := s.flush(false); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, numbered("tail", 4, 5))
	reserve := map[string]uint64{"stored": 7, "tail": 8, "none": 2, "ahead": 4}
	if err := s.Reserve(maps.Clone(reserve)); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "journal.db")
	copyFiles(t, path, copied)
	mustClose(t, s)
	s = mustOpenTuned(t, copied, lazy)
	wantInfo := func(when string) {
		t.Helper()
		all, err := s.Streams(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, info := range all {
			one, err := s.Stream(t.Context(), info.Name)
			if err != nil || one.First != info.First || one.Last != info.Last {
				t.Errorf("%s: stream %+v, %v; listed as %+v", when, one, err, info)
			}
			got[info.Name] = fmt.Sprintf("%d-%d", info.First, info.Last)
		}
		want := map[string]string{"stored": "1-7", "tail": "1-8", "none": "3-2", "ahead": "1-9"}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	wantInfo("after a crash")
	if err := s.AppendBlocks(t.Context(), []journal.Block{numbered("tail", 6, 6)}); err == nil {
		t.Error("a reserved number was taken again")
	}
	if err := s.flush(false); err != nil {
		t.Fatal(err)
	}
	wantInfo("after a flush")
	mustClose(t, s)
	s = mustOpenTuned(t, copied, lazy)
	wantInfo("after another start")
	if err := s.Delete(t.Context(), "stored"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpenTuned(t, copied, lazy)
	defer mustClose(t, s)
	if info, err := s.Stream(t.Context(), "stored"); err != nil || info.Last != 0 {
		t.Errorf("a deleted stream has %+v, %v", info, err)
	}
}

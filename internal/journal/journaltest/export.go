package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// frames are hard to keep unchanged.
var frames = []string{
	`{"id":12345678901234567890.0,"b":1,"a":{"<&>":"\u00e9"}}`, `{ "spaced" : [1 , 2] }`, ` {"x":1}`, "{\"x\":1}\n", "null", `"text"`, "0",
	"", "no json", "\x00\xff\xfe", "\"\xff\"", strings.Repeat("[", 100), "{\"a\":\r\n1}", `{"a":1}{"b":2}`,
}

func testExportImport(t *testing.T, open func() journal.Store) {
	j := Open(t, open(), journal.Options{Retention: journal.Retention{MaxEntries: 100}})
	for i, frame := range frames {
		dir := []journal.Direction{journal.FromAgent, journal.FromClient}[i%2]
		if _, err := j.Append("b", dir, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		if err := j.PutRecord(t.Context(), "kind", fmt.Sprintf("id/%d", i), []byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Wait(t.Context(), "b", uint64(len(frames))); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		Append(t, j, "a", 97)
	}
	if err := j.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := export(t, j)
	first, last, err := j.Bounds("a")
	if err != nil || first == 1 || last != 970 {
		t.Fatalf("bounds: %d-%d, %v", first, last, err)
	}
	if _, err := j.Import(t.Context(), strings.NewReader(before), journal.ImportOptions{}); !errors.Is(err, api.CodeAlreadyExists) {
		t.Errorf("import of what is there: %v", err)
	}
	if after := export(t, j); body(after) != body(before) {
		t.Fatalf("an import that was refused has changed\n%s\nto\n%s", before, after)
	}

	clear := func() {
		for _, stream := range []string{"a", "b"} {
			if err := j.Delete(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
		}
		list, err := j.ListRecords(t.Context(), "kind", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if err := j.DeleteRecord(t.Context(), "kind", r.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	clear()
	cut := before[:strings.LastIndex(strings.TrimSpace(before), "\n")+1]
	if _, err := j.Import(t.Context(), strings.NewReader(cut), journal.ImportOptions{}); !errors.Is(err, api.CodeInvalidRequest) {
		t.Errorf("import of a cut file: %v", err)
	}
	if list, err := j.Streams(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("a cut file has left %+v, %v", list, err)
	}
	tally, err := j.Import(t.Context(), strings.NewReader(before), journal.ImportOptions{})
	if err != nil || tally.Streams != 2 {
		t.Fatalf("import: %+v, %v", tally, err)
	}
	if after := export(t, j); body(after) != body(before) {
		t.Errorf("round trip of\n%s\ngave\n%s", before, after)
	}
	if b, err := j.Reader("a", 0).Next(t.Context()); err != nil || b.Gap == nil || *b.Gap != (journal.Gap{From: 1, To: first - 1}) {
		t.Errorf("gap %+v, %v, want 1-%d", b.Gap, err, first-1)
	}
	// The streams go on where they were.
	last = Append(t, j, "a", 30)
	if err := Follow(t.Context(), j, "a", first-1, last, 0); err != nil || last != 1000 {
		t.Errorf("after an import, at %d: %v", last, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = Open(t, open(), journal.Options{})
	if err := Follow(t.Context(), j, "a", first-1, last, 0); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func export(t *testing.T, j *journal.Journal) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := j.Export(t.Context(), &out, journal.Selection{}); err != nil {
		t.Fatalf("export: %v", err)
	}
	return out.String()
}

// body returns an export without its head, which has the time.
func body(export string) string {
	_, rest, _ := strings.Cut(export, "\n")
	return rest
}

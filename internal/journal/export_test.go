package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/journaltest"
)

const head = `{"type":"journal","format":1}` + "\n"

func end(records, streams, entries int) string {
	return fmt.Sprintf("{\"type\":\"end\",\"records\":%d,\"streams\":%d,\"entries\":%d}\n", records, streams, entries)
}

func entry(stream string, seq int) string {
	return fmt.Sprintf("{\"type\":\"entry\",\"stream\":%q,\"seq\":%d,\"time\":5,\"dir\":\"agent\",\"frame\":{}}\n", stream, seq)
}

const oneRecord = `{"type":"record","kind":"k","id":"a","data":{"stream":"a"}}` + "\n"

func TestImportRefuses(t *testing.T) {
	good := head + oneRecord + entry("a", 1)
	for name, test := range map[string]struct {
		input string
		want  api.Code
	}{
		"empty":                 {"", api.CodeInvalidRequest},
		"no head":               {entry("a", 1) + end(0, 1, 1), api.CodeInvalidRequest},
		"two heads":             {head + head + end(0, 0, 0), api.CodeInvalidRequest},
		"later format":          {strings.Replace(head, "1", "2", 1) + end(0, 0, 0), api.CodeInvalidRequest},
		"no end":                {good, api.CodeInvalidRequest},
		"cut line":              {good + entry("a", 2)[:20], api.CodeInvalidRequest},
		"more behind the end":   {good + end(1, 1, 1) + entry("a", 2), api.CodeInvalidRequest},
		"entries missing":       {good + end(1, 1, 2), api.CodeInvalidRequest},
		"unknown type":          {good + `{"type":"x"}` + "\n" + end(1, 1, 1), api.CodeInvalidRequest},
		"out of order":          {good + entry("b", 1) + entry("a", 1) + end(1, 2, 3), api.CodeInvalidRequest},
		"no number":             {good + entry("a", 0) + end(1, 1, 2), api.CodeInvalidRequest},
		"no direction":          {good + strings.Replace(entry("a", 2), "agent", "up", 1) + end(1, 1, 2), api.CodeInvalidRequest},
		"no frame":              {good + strings.Replace(entry("a", 2), `,"frame":{}`, "", 1) + end(1, 1, 2), api.CodeInvalidRequest},
		"bad base64":            {good + strings.Replace(entry("a", 2), `"frame":{}`, `"base64":"?"`, 1) + end(1, 1, 2), api.CodeInvalidRequest},
		"bad name":              {good + entry("n", 1) + strings.Replace(entry("x", 1), `"x"`, `"\u0000"`, 1) + end(1, 3, 3), api.CodeInvalidRequest},
		"name of a draft":       {good + entry("import/x/1", 1) + end(1, 2, 2), api.CodeInvalidRequest},
		"record twice":          {good + oneRecord + end(2, 1, 1), api.CodeAlreadyExists},
		"record without a kind": {good + strings.Replace(oneRecord, `"k"`, `""`, 1) + end(2, 1, 1), api.CodeInvalidRequest},
		"large frame":           {good + strings.Replace(entry("a", 2), "{}", `"`+strings.Repeat("x", 2000)+`"`, 1) + end(1, 1, 2), api.CodeLimitExceeded},
		"large line":            {good + strings.Replace(entry("a", 2), "{}", `"`+strings.Repeat("x", 200_000)+`"`, 1) + end(1, 1, 2), api.CodeLimitExceeded},
		"stream that is there":  {good + entry("there", 1) + entry("c", 1) + end(1, 3, 3), api.CodeAlreadyExists},
	} {
		t.Run(name, func(t *testing.T) {
			j := journaltest.Open(t, journal.Memory(), journal.Options{MaxFrameBytes: 1000})
			journaltest.Append(t, j, "there", 1)
			if _, err := j.Import(t.Context(), strings.NewReader(test.input), journal.ImportOptions{}); !errors.Is(err, test.want) {
				t.Errorf("import: %v, want %s", err, test.want)
			}
			if kinds, err := j.RecordKinds(t.Context()); err != nil || len(kinds) != 0 {
				t.Errorf("records are left: %q, %v", kinds, err)
			}
			list, err := j.Streams(t.Context(), "")
			if err != nil || len(list) != 1 || list[0].Name != "there" || list[0].Last != 1 {
				t.Errorf("streams are left: %+v, %v", list, err)
			}
		})
	}
}

func TestImportRename(t *testing.T) {
	j := journaltest.Open(t, journal.Memory(), journal.Options{})
	journaltest.Append(t, j, "a", 3)
	if err := j.PutRecord(t.Context(), "k", "a", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	input := head + oneRecord + entry("a", 4) + entry("a", 9) + entry("b", 1) + entry("a", 10) + end(1, 2, 4)
	rename := journal.ImportOptions{
		Stream: func(name string) (string, error) { return "copy/" + name, nil },
		Record: func(_, id string, data []byte) (string, []byte, error) {
			return "copy/" + id, bytes.ReplaceAll(data, []byte(`"a"`), []byte(`"copy/a"`)), nil
		},
	}
	tally, err := j.Import(t.Context(), strings.NewReader(input), rename)
	if err != nil || tally != (journal.Tally{Records: 1, Streams: 2, Entries: 4}) {
		t.Fatalf("import: %+v, %v", tally, err)
	}
	if data, err := j.GetRecord(t.Context(), "k", "copy/a"); err != nil || string(data) != `{"stream":"copy/a"}` {
		t.Errorf("record: %s, %v", data, err)
	}
	var out bytes.Buffer
	only := journal.Selection{
		Stream: func(name string) bool { return name == "copy/a" },
		Record: func(string, string) bool { return false },
	}
	if _, err := j.Export(t.Context(), &out, only); err != nil {
		t.Fatal(err)
	}
	want := entry("copy/a", 4) + entry("copy/a", 9) + entry("copy/a", 10) + end(0, 1, 3)
	if _, got, _ := strings.Cut(out.String(), "\n"); got != want {
		t.Errorf("export:\n%swant\n%s", got, want)
	}
	same := journal.ImportOptions{Stream: func(string) (string, error) { return "one", nil }}
	if _, err := j.Import(t.Context(), strings.NewReader(head+entry("x", 1)+entry("y", 2)+end(0, 2, 2)), same); !errors.Is(err, api.CodeAlreadyExists) {
		t.Errorf("two streams of one name: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Import(ctx, strings.NewReader(input), journal.ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("import that was canceled: %v", err)
	}
}

// TestImportLeavesOut keeps all streams but one, and refuses what the caller does.
func TestImportLeavesOut(t *testing.T) {
	j := journaltest.Open(t, journal.Memory(), journal.Options{})
	journaltest.Append(t, j, "b", 1)
	input := head + oneRecord + entry("a", 1) + entry("b", 1) + entry("b", 2) + end(1, 2, 3)
	without := journal.ImportOptions{Stream: func(name string) (string, error) { return strings.Trim(name, "b"), nil }}
	tally, err := j.Import(t.Context(), strings.NewReader(input), without)
	if err != nil || tally != (journal.Tally{Records: 1, Streams: 1, Entries: 1}) {
		t.Errorf("import: %+v, %v", tally, err)
	}
	if last, err := j.Last("b"); err != nil || last != 1 {
		t.Errorf("the stream that was left out is at %d, %v", last, err)
	}
	refuse := journal.ImportOptions{Stream: func(string) (string, error) { return "", api.CodeNotSupported }}
	if _, err := j.Import(t.Context(), strings.NewReader(head+entry("c", 1)+end(0, 1, 1)), refuse); !errors.Is(err, api.CodeNotSupported) {
		t.Errorf("import that was refused: %v", err)
	}
}

// TestImportNotUndone has the store fail when an import is to be undone: what is
// left goes once the store is well.
func TestImportNotUndone(t *testing.T) {
	store := &flaky{Store: journal.Memory()}
	j := journaltest.Open(t, store, journal.Options{})
	cut := io.MultiReader(strings.NewReader(head+entry("a", 1)+entry("b", 1)), failing(func() { store.fails.Store(true) }))
	if _, err := j.Import(t.Context(), cut, journal.ImportOptions{}); !errors.Is(err, api.CodeInvalidRequest) {
		t.Errorf("import of a cut file: %v", err)
	}
	streams := func() int {
		list, err := j.Streams(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if streams() == 0 {
		t.Fatal("the import was undone")
	}
	store.fails.Store(false)
	if err := j.Trim(t.Context()); err != nil || streams() != 0 {
		t.Errorf("trim has left %d streams, %v", streams(), err)
	}
}

// failing is a reader of nothing that does something first.
type failing func()

func (f failing) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// TestExportOfGivenRecords takes records from the caller.
func TestExportOfGivenRecords(t *testing.T) {
	j := journaltest.Open(t, journal.Memory(), journal.Options{})
	if err := j.PutRecord(t.Context(), "k", "b", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sel := journal.Selection{Records: func(put func(kind, id string, data []byte) error) error {
		journaltest.Append(t, j, "a", 1) // in time
		return put("k", "a", []byte(`{"stream":"a"}`))
	}}
	tally, err := j.Export(t.Context(), &out, sel)
	if _, got, _ := strings.Cut(out.String(), "\n"); err != nil || !strings.HasPrefix(got, oneRecord) || tally != (journal.Tally{Records: 1, Streams: 1, Entries: 1}) {
		t.Errorf("export: %s%+v, %v", got, tally, err)
	}
	sel.Records = func(func(kind, id string, data []byte) error) error { return api.CodeNotSupported }
	if _, err := j.Export(t.Context(), &out, sel); !errors.Is(err, api.CodeNotSupported) {
		t.Errorf("export that failed: %v", err)
	}
}

// FuzzImport takes any file: what it accepts comes out again.
func FuzzImport(f *testing.F) {
	f.Add([]byte(head + oneRecord + entry("a", 1) + entry("b", 7) + end(1, 2, 2)))
	f.Add([]byte(head + `{"type":"entry","stream":"s","seq":1,"time":-1,"dir":"client","base64":"//8="}` + "\n" + end(0, 1, 1)))
	f.Add([]byte(head + end(0, 0, 0)))
	f.Fuzz(func(t *testing.T, input []byte) {
		j, err := journal.Open(journal.Memory(), journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		tally, err := j.Import(t.Context(), bytes.NewReader(input), journal.ImportOptions{})
		if err != nil {
			list, _ := j.Streams(t.Context(), "")
			if kinds, _ := j.RecordKinds(t.Context()); len(list)+len(kinds) != 0 {
				t.Fatalf("a refused import has left %+v %q", list, kinds)
			}
			return
		}
		var first, second bytes.Buffer
		if got, err := j.Export(t.Context(), &first, journal.Selection{}); err != nil || got != tally {
			t.Fatalf("export: %+v, %v, want %+v", got, err, tally)
		}
		other, err := journal.Open(journal.Memory(), journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if got, err := other.Import(t.Context(), bytes.NewReader(first.Bytes()), journal.ImportOptions{}); err != nil || got != tally {
			t.Fatalf("import again: %+v, %v, want %+v", got, err, tally)
		}
		if _, err := other.Export(t.Context(), &second, journal.Selection{}); err != nil {
			t.Fatal(err)
		}
		_, a, _ := strings.Cut(first.String(), "\n")
		if _, b, _ := strings.Cut(second.String(), "\n"); a != b {
			t.Fatalf("%s came back as %s", a, b)
		}
	})
}

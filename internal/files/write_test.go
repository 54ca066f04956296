package files

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of the earlier server away, under their
// numbers.

func TestBrokenLinks(t *testing.T) {
	f, dir := newFS(t)
	os.Symlink("none", dir+"/l")
	page, err := f.Entries(t.Context(), dir, "", 0)
	if err != nil || page.Entries[0].Kind != api.KindSymlink || page.Entries[0].Target != "none" {
		t.Errorf("%+v, %v", page, err)
	}
	if _, err := f.Delete(t.Context(), "l", false); err != nil {
		t.Error(err)
	}
	wantNames(t, dir)
}

func TestWritesAreAtomicAndLarge(t *testing.T) {
	f, dir := newFS(t)
	const size = 3 << 20
	if err := write(f, "f", strings.Repeat("a", size)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				data, err := os.ReadFile(dir + "/f")
				if err != nil || len(data) != size || bytes.Count(data, data[:1]) != size {
					t.Errorf("a reader saw %d bytes, %v", len(data), err)
					return
				}
			}
		})
	}
	for i := range 20 {
		if err := write(f, "f", strings.Repeat(string(rune('a'+i)), size)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestSpecialFilesDoNotBlock(t *testing.T) {
	f, dir := newFS(t)
	syscall.Mkfifo(dir+"/pipe", 0o666)
	wantProblem(t, write(f, "pipe", "x"), 400, api.CodeNotAFile, "")
	_, err := f.Open(t.Context(), "pipe")
	wantProblem(t, err, 400, api.CodeNotAFile, "")
	_, err = f.Search(t.Context(), api.FileSearchRequest{Content: "x"}, func(api.FileSearchMatch) error { return nil })
	if err != nil {
		t.Error(err)
	}
	if st, err := f.Stat(t.Context(), "pipe"); err != nil || st.Kind != api.KindFIFO || st.EntryType != api.EntryFile {
		t.Errorf("%+v, %v", st, err)
	}
}

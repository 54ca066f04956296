package files

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRecoverLeavesWhatIsInUse recovers while operations of another FS are under
// way.
func TestRecoverLeavesWhatIsInUse(t *testing.T) {
	long := strings.Repeat("x", 2*bufferSize)
	for name, c := range map[string]struct {
		do   func(ctx context.Context, f *FS, body io.Reader) error
		body []byte
	}{
		"write": {
			func(ctx context.Context, f *FS, body io.Reader) error {
				_, err := f.Write(ctx, "a/f", body, WriteOptions{})
				return err
			},
			[]byte(long),
		},
		"upload": {
			func(ctx context.Context, f *FS, body io.Reader) error {
				_, err := f.Upload(ctx, "a", body)
				return err
			},
			tarball(entry{name: "f", body: long}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFS(t)
			r, w := io.Pipe()
			done := make(chan error, 1)
			go func() { done <- c.do(t.Context(), f, r) }()
			half := len(c.body) * 3 / 4
			if _, err := w.Write(c.body[:half]); err != nil {
				t.Fatal(err)
			}
			if err := New(f.cfg).Recover(); err != nil {
				t.Error(err)
			}
			w.Write(c.body[half:])
			w.Close()
			if err := <-done; err != nil {
				t.Error(err)
			}
			wantNames(t, dir, "a", "a/f")
			if content(t, dir+"/a/f") != long {
				t.Error("the content is another")
			}
		})
	}
}

// TestRecoverIsCareful gives it notes that nobody should have written, or that
// the files do not fit to any more.
func TestRecoverIsCareful(t *testing.T) {
	const hidden, link = tempPrefix + "move-abc", tempPrefix + "write-1"
	for name, c := range map[string]struct {
		steps []string
		gone  string // of the names, and what is there instead
		new   string
		stays bool // the note
	}{
		"removes only what has a hidden name": {
			steps: []string{"hide kept", "hide " + tempPrefix + "write-", "hide " + tempPrefix + "other-1", "hide " + hidden + "/.", "make sub", "make link"},
		},
		"removes a link, not what it points at": {steps: []string{"hide " + link}, gone: link},
		"puts back what was moved":              {steps: []string{"hide " + hidden, "move sub/moved " + hidden}, gone: hidden, new: "sub/moved"},
		"replaces nothing":                      {steps: []string{"hide " + hidden, "move kept " + hidden}, stays: true},
		"leaves what is another file":           {steps: []string{"move moved kept 1"}},
		"does not guess what was swapped":       {steps: []string{"hide " + hidden, "swap " + hidden + " kept 1"}, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, notes := t.TempDir(), t.TempDir()
			for _, name := range []string{hidden, "kept", "sub/kept", tempPrefix + "write-", tempPrefix + "other-1"} {
				put(t, dir+"/"+name, "data")
			}
			os.Symlink("sub", dir+"/"+link)
			want := slices.DeleteFunc(names(t, dir), func(name string) bool { return name == c.gone })
			if c.new != "" {
				want = append(want, c.new)
			}
			var note []string
			for _, s := range c.steps {
				fields := append(strings.Fields(s), "", "")[:4:4]
				for i := range fields[1:3] {
					if fields[i+1] != "" {
						fields[i+1] = dir + "/" + fields[i+1]
					}
				}
				note = append(note, fields...)
			}
			put(t, notes+"/1", strings.Join(append(note, ""), "\x00"))
			if err := New(Config{Notes: notes}).Recover(); (err != nil) != c.stays {
				t.Errorf("error %v", err)
			}
			slices.Sort(want)
			wantNames(t, dir, want...)
			if left := len(names(t, notes)); (left != 0) != c.stays {
				t.Errorf("%d notes left", left)
			}
		})
	}
}

// TestWithoutNotes checks that operations do without a folder for notes.
func TestWithoutNotes(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "data")
	long := strings.Repeat("x", bufferSize+1)
	for _, notes := range []string{"", dir + "/file/notes", dir + "/none/notes"} {
		f := New(Config{Home: f.cfg.Home, TempDir: f.cfg.TempDir, Notes: notes})
		if err := f.Recover(); err != nil {
			t.Errorf("notes in %q: recover: %v", notes, err)
		}
		if err := write(f, "new/f", long); err != nil {
			t.Errorf("notes in %q: write: %v", notes, err)
		}
		if _, err := f.Upload(t.Context(), "up", bytes.NewReader(tarball(entry{name: "f"}))); err != nil {
			t.Errorf("notes in %q: upload: %v", notes, err)
		}
		if _, err := f.Move(t.Context(), "up", "new", true); err != nil {
			t.Errorf("notes in %q: move: %v", notes, err)
		}
		wantNames(t, dir, "file", "new", "new/f")
	}
}

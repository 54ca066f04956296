package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sandboxagent/sandboxagent/api"
)

func find(t *testing.T, f *FS, req api.FileSearchRequest) ([]string, api.FileSearchSummary) {
	t.Helper()
	var got []string
	sum, err := f.Search(t.Context(), req, func(m api.FileSearchMatch) error {
		line := strings.TrimPrefix(m.Path, f.cfg.Home+"/")
		if m.Line > 0 {
			line += fmt.Sprintf(":%d:%d:%s", m.Line, m.Column, m.Text)
		}
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, sum
}

func TestSearch(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/.git/config", "needle")
	put(t, dir+"/.gitignore", "*.log\n/vendor/\n")
	put(t, dir+"/a.go", "package a\n\nfunc Needle() {} // needle\r\nneedle")
	put(t, dir+"/b.log", "needle")
	put(t, dir+"/bin", "\x00needle")
	put(t, dir+"/sub/.gitignore", "!c.log\n")
	put(t, dir+"/sub/c.log", "x needle")
	put(t, dir+"/sub/.hidden", "needle")
	put(t, dir+"/vendor/d.go", "needle")
	os.Symlink(dir, dir+"/sub/loop")
	put(t, dir+"/long", strings.Repeat("x", bufferSize-3)+"\n"+strings.Repeat("y\n", 10)+"last needle")
	long := fmt.Sprintf("long:%d:6:last needle", 12)

	for _, c := range []struct {
		req  api.FileSearchRequest
		want []string
	}{
		{api.FileSearchRequest{Content: "needle"}, []string{"a.go:3:21:func Needle() {} // needle", "a.go:4:1:needle", long, "sub/c.log:1:3:x needle"}},
		{api.FileSearchRequest{Content: "NEEDLE", IgnoreCase: true, Name: "*.go"}, []string{"a.go:3:6:func Needle() {} // needle", "a.go:4:1:needle"}},
		{api.FileSearchRequest{Content: `^n\w+e$`, Regex: true}, []string{"a.go:4:1:needle"}},
		{api.FileSearchRequest{Content: "needle", Path: "sub", Hidden: true, NoIgnore: true}, []string{"sub/.hidden:1:1:needle", "sub/c.log:1:3:x needle"}},
		{api.FileSearchRequest{Name: "go"}, []string{"a.go"}},
		{api.FileSearchRequest{Name: "**/*.log"}, []string{"sub/c.log"}},
		{api.FileSearchRequest{Name: "SUB", IgnoreCase: true}, []string{"sub"}},
		{api.FileSearchRequest{Name: "config", Hidden: true, NoIgnore: true}, []string{".git/config"}},
		{api.FileSearchRequest{Name: "*.{go,log}", NoIgnore: true}, []string{"a.go", "b.log", "sub/c.log", "vendor/d.go"}},
	} {
		if got, sum := find(t, f, c.req); !slices.Equal(got, c.want) || sum.Matches != len(c.want) || sum.Truncated {
			t.Errorf("%+v:\n got %q %+v\nwant %q", c.req, got, sum, c.want)
		}
	}
	// The rules of a repository hold below it too.
	if got, _ := find(t, f, api.FileSearchRequest{Path: "sub", Name: "log"}); !slices.Equal(got, []string{"sub/c.log"}) {
		t.Errorf("below: %q", got)
	}
	if got, sum := find(t, f, api.FileSearchRequest{Content: "needle", Limit: 2}); len(got) != 2 || !sum.Truncated {
		t.Errorf("limited: %q %+v", got, sum)
	}
	for _, req := range []api.FileSearchRequest{{}, {Name: "[a"}, {Content: "(", Regex: true}, {Content: "a\nb"}} {
		_, err := f.Search(t.Context(), req, nil)
		wantProblem(t, err, 400, api.CodeInvalidPattern, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := f.Search(ctx, api.FileSearchRequest{Name: "*"}, func(api.FileSearchMatch) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled search: %v", err)
	}
}

// nextEvent waits for an event of the type at path and returns those before it.
func nextEvent(t *testing.T, events <-chan api.FileWatchEvent, typ api.FileWatchType, path string) []api.FileWatchEvent {
	t.Helper()
	var before []api.FileWatchEvent
	deadline := time.After(10 * time.Second)
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				t.Fatalf("watch ended before %s of %s; saw %+v", typ, path, before)
			}
			if ev.Type == typ && ev.Path == path {
				return before
			}
			before = append(before, ev)
		case <-deadline:
			t.Fatalf("no %s of %s; saw %+v", typ, path, before)
		}
	}
}

func TestWatch(t *testing.T) {
	f, dir := newFS(t)
	os.MkdirAll(dir+"/w/sub/deep", 0o755)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := f.Watch(ctx, "w", true)
	if err != nil {
		t.Fatal(err)
	}
	w := dir + "/w"
	put(t, w+"/sub/deep/f", "x")
	nextEvent(t, events, api.WatchCreate, w+"/sub/deep/f")
	nextEvent(t, events, api.WatchModify, w+"/sub/deep/f")
	os.MkdirAll(w+"/new/inner", 0o755)
	put(t, w+"/new/inner/f", "x")
	nextEvent(t, events, api.WatchCreate, w+"/new/inner/f")
	os.Rename(w+"/new", w+"/moved")
	nextEvent(t, events, api.WatchRename, w+"/new")
	nextEvent(t, events, api.WatchCreate, w+"/moved/inner/f")
	if err := write(f, "w/written", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Upload(t.Context(), "w/sub", bytes.NewReader(tarball(entry{name: "unpacked", body: "x"}))); err != nil {
		t.Fatal(err)
	}
	for _, ev := range nextEvent(t, events, api.WatchCreate, w+"/sub/unpacked") {
		if strings.Contains(ev.Path, tempPrefix) {
			t.Errorf("event of a hidden file: %+v", ev)
		}
	}
	put(t, w+"/old/f", "x")
	nextEvent(t, events, api.WatchCreate, w+"/old/f")
	if _, err := f.Move(t.Context(), "w/moved", "w/old", true); err != nil {
		t.Fatal(err)
	}
	put(t, w+"/old/later", "x")
	gone := true
	for _, ev := range nextEvent(t, events, api.WatchCreate, w+"/old/later") {
		if ev.Path == w+"/old" {
			gone = ev.Type == api.WatchRename
		}
	}
	if gone {
		t.Error("the folder that took the place of another is said to be gone")
	}
	os.Remove(w + "/old/inner/f")
	nextEvent(t, events, api.WatchRemove, w+"/old/inner/f")
	os.RemoveAll(w)
	nextEvent(t, events, api.WatchRemove, w)
	if _, ok := <-events; ok {
		t.Error("the watch goes on without its folder")
	}
	cancel()

	put(t, dir+"/file", "1")
	put(t, dir+"/other", "1")
	ctx, cancel = context.WithCancel(t.Context())
	if events, err = f.Watch(ctx, "file", false); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/other", "2")
	if err := write(f, "file", "2"); err != nil {
		t.Fatal(err)
	}
	if before := nextEvent(t, events, api.WatchCreate, dir+"/file"); len(before) != 0 {
		t.Errorf("events of other files: %+v", before)
	}
	cancel()
	for range events {
	}
}

// TestWatchReplaced puts another folder in the place of the one that is watched.
func TestWatchReplaced(t *testing.T) {
	for _, recursive := range []bool{true, false} {
		f, dir := newFS(t)
		put(t, dir+"/w/f", "x")
		put(t, dir+"/other/f", "x")
		ctx, cancel := context.WithCancel(t.Context())
		events, err := f.Watch(ctx, "w", recursive)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Move(t.Context(), "other", "w", true); err != nil {
			t.Fatal(err)
		}
		nextEvent(t, events, api.WatchCreate, dir+"/w")
		put(t, dir+"/w/later", "x")
		nextEvent(t, events, api.WatchCreate, dir+"/w/later")
		cancel()
		for range events {
		}
	}
}

func TestWatchLimit(t *testing.T) {
	f, dir := newFS(t)
	f.cfg.MaxWatches = 2
	os.MkdirAll(dir+"/a/b/c", 0o755)
	_, err := f.Watch(t.Context(), dir, true)
	wantProblem(t, err, 400, api.CodeWatchLimit, "")
	ctx, cancel := context.WithCancel(t.Context())
	events, err := f.Watch(ctx, dir+"/a/b/c", true)
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(dir+"/a/b/c/1", 0o755)
	nextEvent(t, events, api.WatchCreate, dir+"/a/b/c/1")
	os.Mkdir(dir+"/a/b/c/2", 0o755)
	nextEvent(t, events, api.WatchLimited, dir+"/a/b/c/2")
	cancel()
	for range events {
	}
}

func TestArchive(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/src/sub/f", "data")
	os.Chmod(dir+"/src/sub/f", 0o750)
	at := time.Unix(1e9, 123456789)
	os.Chtimes(dir+"/src/sub/f", at, at)
	os.Symlink("sub/f", dir+"/src/l")
	os.Symlink("/etc", dir+"/src/out")
	syscall.Mkfifo(dir+"/src/p", 0o600)
	os.Symlink("src/sub/f", dir+"/link")
	unpack := map[Packing]func(io.Reader) (io.Reader, error){
		PackNone: func(r io.Reader) (io.Reader, error) { return r, nil },
		PackGzip: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		PackZstd: func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) },
	}
	pack := func(path string, packing Packing) []byte {
		t.Helper()
		a, err := f.Archive(t.Context(), path, packing)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		var buf bytes.Buffer
		if err := a.Write(t.Context(), &buf); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	for packing, open := range unpack {
		r, err := open(bytes.NewReader(pack("src", packing)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for tr := tar.NewReader(r); ; {
			hdr, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(tr)
			got = append(got, strings.Join([]string{hdr.Name, hdr.Linkname, string(body)}, "|"))
			if hdr.Name == "sub/f" && (hdr.Mode != 0o750 || !hdr.ModTime.Equal(at)) {
				t.Errorf("header %+v", hdr)
			}
		}
		if want := []string{"l|sub/f|", "out|/etc|", "sub/||", "sub/f||data"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", packing, got, want)
		}
	}
	if _, err := f.Upload(t.Context(), "copy", bytes.NewReader(pack("src", PackGzip))); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir+"/copy", "l", "out", "sub", "sub/f")
	if _, err := f.Upload(t.Context(), "one", bytes.NewReader(pack("link", PackNone))); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir+"/one", "f")
	_, err := f.Archive(t.Context(), dir, "rar")
	wantProblem(t, err, 400, "invalid_request", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, err := f.Archive(ctx, dir, PackNone)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Write(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkWriteRead4K(b *testing.B) {
	f, _ := newFS(b)
	data := bytes.Repeat([]byte("x"), 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Write(b.Context(), "f", bytes.NewReader(data), WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		file, err := f.Open(b.Context(), "f")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, file.File)
		file.Close()
	}
}

func BenchmarkEntries5000(b *testing.B) {
	f, dir := newFS(b)
	for i := range 5000 {
		put(b, fmt.Sprintf("%s/file-%04d.txt", dir, i), "x")
	}
	b.ReportAllocs()
	for b.Loop() {
		if page, err := f.Entries(b.Context(), dir, "", 0); err != nil || len(page.Entries) != 5000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpload(b *testing.B) {
	f, _ := newFS(b)
	var entries []entry
	for i := range 500 {
		entries = append(entries, entry{name: fmt.Sprintf("d%d/f%d", i%20, i), body: strings.Repeat("x", 4096)})
	}
	archive := tarball(entries...)
	b.SetBytes(int64(len(archive)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := f.Upload(b.Context(), fmt.Sprintf("t%d", i), bytes.NewReader(archive)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSearchContent(b *testing.B) {
	f, dir := newFS(b)
	for i := range 200 {
		put(b, fmt.Sprintf("%s/d%d/f%d", dir, i%10, i), strings.Repeat("some text of a line\n", 2000))
	}
	b.SetBytes(200 * 40000)
	for b.Loop() {
		if _, err := f.Search(b.Context(), api.FileSearchRequest{Content: "absent"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

package sandboxagent_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func TestFiles(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	name := filepath.Join(s.dir, "a", "b.txt")
	if err := s.WriteFile(ctx, name, []byte("hello"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, name, strings.NewReader(" world"), sandboxagent.WriteOptions{Append: true}); err != nil {
		t.Fatal(err)
	}
	if data, err := s.ReadFile(ctx, name); err != nil || string(data) != "hello world" {
		t.Errorf("content is %q, %v", data, err)
	}
	for _, span := range []struct {
		offset, length int64
		want           string
	}{{6, -1, "world"}, {0, 5, "hello"}, {2, 3, "llo"}, {3, 0, ""}} {
		r, err := s.OpenRange(ctx, name, span.offset, span.length)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		r.Close()
		if string(data) != span.want {
			t.Errorf("range %d %d is %q", span.offset, span.length, data)
		}
	}
	info, err := s.Stat(ctx, name)
	if err != nil || info.Name() != "b.txt" || info.Size() != 11 || info.Mode() != 0o640 || info.ModTime().IsZero() {
		t.Errorf("info is %v, %v", info, err)
	}
	if err := s.WriteFile(ctx, filepath.Join(s.dir, "empty"), nil, 0); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("b.txt", filepath.Join(s.dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	entries, err := s.ReadDir(ctx, filepath.Join(s.dir, "a"))
	if err != nil || len(entries) != 2 || entries[0].Name() != "b.txt" || entries[1].Type() != fs.ModeSymlink {
		t.Errorf("entries are %v, %v", entries, err)
	}
	moved := filepath.Join(s.dir, "c", "d.txt")
	if err := s.Move(ctx, name, moved, sandboxagent.MoveOptions{}); err != nil {
		t.Error(err)
	}
	if err := s.Mkdir(ctx, filepath.Join(s.dir, "e", "f")); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, moved); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := s.RemoveAll(ctx, filepath.Join(s.dir, "e")); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.WriteFiles(ctx, api.FileBatchRequest{Files: []api.FileBatchItem{{Path: filepath.Join(s.dir, "g"), Content: "x"}}}); err != nil {
		t.Error(err)
	}
}

func TestFileErrors(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	at := func(name string) string { return filepath.Join(s.dir, name) }
	for _, name := range []string{"x", "y", "dir/z"} {
		if err := s.WriteFile(ctx, at(name), []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	read := func() error { _, err := s.ReadFile(ctx, at("none")); return err }
	stat := func() error { _, err := s.Stat(ctx, at("none")); return err }
	list := func() error { _, err := s.ReadDir(ctx, at("none")); return err }
	listFile := func() error { _, err := s.ReadDir(ctx, at("x")); return err }
	search := func() error {
		for _, err := range s.Search(ctx, api.FileSearchRequest{Path: at("none"), Name: "x"}) {
			return err
		}
		return nil
	}
	watch := func() error {
		for _, err := range s.Watch(ctx, at("none"), sandboxagent.WatchOptions{}) {
			return err
		}
		return nil
	}
	download := func() error { _, err := s.Download(ctx, at("none"), sandboxagent.DownloadOptions{}); return err }
	tests := []struct {
		name string
		do   func() error
		is   error
	}{
		{"read", read, fs.ErrNotExist},
		{"stat", stat, fs.ErrNotExist},
		{"list", list, fs.ErrNotExist},
		{"list a file", listFile, api.CodeNotADirectory},
		{"remove", func() error { return s.Remove(ctx, at("none")) }, fs.ErrNotExist},
		{"remove full", func() error { return s.Remove(ctx, at("dir")) }, api.CodeNotEmpty},
		{"move nothing", func() error { return s.Move(ctx, at("none"), at("n"), sandboxagent.MoveOptions{}) }, fs.ErrNotExist},
		{"move onto", func() error { return s.Move(ctx, at("x"), at("y"), sandboxagent.MoveOptions{}) }, fs.ErrExist},
		{"mkdir on file", func() error { return s.Mkdir(ctx, at("x")) }, fs.ErrExist},
		{"search", search, fs.ErrNotExist},
		{"watch", watch, fs.ErrNotExist},
		{"download", download, fs.ErrNotExist},
		{"bad archive", func() error { _, err := s.UploadTar(ctx, at("u"), strings.NewReader("rubbish")); return err }, api.CodeInvalidArchive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			var pathError *fs.PathError
			var problem *api.Error
			if !errors.Is(err, tt.is) || !errors.As(err, &pathError) || !errors.As(err, &problem) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestPutStreams(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	want := make([]byte, 20<<20)
	rand.Read(want)
	name := filepath.Join(s.dir, "big")
	source := &closeWatch{Reader: bytes.NewReader(want)}
	if err := s.Put(ctx, name, source, sandboxagent.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if source.closed {
		t.Error("the caller's reader was closed")
	}
	got, err := s.ReadFile(ctx, name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

type closeWatch struct {
	io.Reader
	closed bool
}

func (c *closeWatch) Close() error { c.closed = true; return nil }

func TestUploadAndDownload(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	tree := fstest.MapFS{"a.txt": {Data: []byte("a"), Mode: 0o644}, "b": {Mode: fs.ModeDir | 0o755}, "b/c.sh": {Data: []byte("#!/bin/sh\n"), Mode: 0o755}}
	dir := filepath.Join(s.dir, "up")
	result, err := s.Upload(ctx, dir, tree)
	if err != nil || len(result.Paths) < 2 {
		t.Fatalf("result is %+v, %v", result, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "b", "c.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("info is %v, %v", info, err)
	}
	archive, err := s.Download(ctx, dir, sandboxagent.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	var names []string
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "b/c.sh") }) {
		t.Errorf("archive has %v", names)
	}
	broken := fstest.MapFS{"a": {Mode: fs.ModeDevice}}
	if _, err := s.Upload(ctx, dir, broken); err == nil {
		t.Error("a tree that cannot be packed is no error")
	}
}

func TestFS(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	dir := filepath.Join(s.dir, "tree")
	if _, err := s.Upload(ctx, dir, fstest.MapFS{
		"a.txt": {Data: []byte("hello"), Mode: 0o644}, "b/c.txt": {Data: bytes.Repeat([]byte("x"), 5000), Mode: 0o600},
		"b": {Mode: fs.ModeDir | 0o755}, "b/d": {Mode: fs.ModeDir | 0o755}, "b/d/e": {Mode: 0o644}, "name with blank & more": {Data: []byte("y"), Mode: 0o644},
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	fsys := s.FS(ctx, dir)
	if err := fstest.TestFS(fsys, "a.txt", "b/c.txt", "b/d/e", "name with blank & more", "link"); err != nil {
		t.Error(err)
	}
	site := httptest.NewServer(http.FileServerFS(fsys))
	defer site.Close()
	for path, want := range map[string]string{"/a.txt": "llo", "/b/c.txt": strings.Repeat("x", 4998)} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, site.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", "bytes=2-")
		resp, err := site.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusPartialContent || string(body) != want {
			t.Errorf("%s: status %d, %d bytes, %v", path, resp.StatusCode, len(body), err)
		}
	}
	if _, err := fs.ReadFile(fsys, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if _, err := fs.Stat(fsys, "../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
}

func TestWatchAndSearch(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	seen := make(chan string)
	go func() {
		defer close(seen)
		for change, err := range s.Watch(ctx, s.dir, sandboxagent.WatchOptions{}) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				return
			}
			select {
			case seen <- change.Path:
			case <-ctx.Done():
			}
		}
	}()
	// The watch begins at a time of its own, so the file is written until it is seen.
	file := filepath.Join(s.dir, "seen.txt")
	for found := false; !found; {
		if err := s.WriteFile(ctx, file, []byte("needle"), 0); err != nil {
			t.Fatal(err)
		}
		select {
		case path := <-seen:
			found = strings.HasPrefix(path, s.dir)
		default:
		}
	}
	cancel()
	for range seen {
	}
	ctx = testContext(t)
	var matches []string
	for match, err := range s.Search(ctx, api.FileSearchRequest{Path: s.dir, Content: "needle"}) {
		if err != nil {
			t.Fatal(err)
		}
		matches = append(matches, match.Path)
	}
	if !slices.Equal(matches, []string{file}) {
		t.Errorf("matches are %v", matches)
	}
	if err := s.WriteFile(ctx, filepath.Join(s.dir, "other.txt"), []byte("needle"), 0); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range s.Search(ctx, api.FileSearchRequest{Path: s.dir, Content: "needle", Limit: 1}) {
		last = err
	}
	if !errors.Is(last, api.CodeLimitExceeded) {
		t.Errorf("last error is %v", last)
	}
}

package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
)

// childEnv names the scenario that a re-executed test binary runs.
const childEnv = "FILES_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		runChild(name)
		return
	}
	goleak.VerifyTestMain(m)
}

// newFS returns an FS and its home. No note may be left when the test ends.
func newFS(t testing.TB) (*FS, string) {
	t.Helper()
	dir, notes := t.TempDir(), t.TempDir()
	t.Cleanup(func() { wantNames(t, notes) })
	return New(Config{Home: dir, TempDir: t.TempDir(), Notes: notes}), dir
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// names lists all that is below dir, hidden files included.
func names(t testing.TB, dir string) []string {
	t.Helper()
	found := []string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			found = append(found, path[len(dir)+1:])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("in %s: %q, want %q", dir, got, want)
	}
}

// wantProblem checks status, code and, if text is not empty, the detail.
func wantProblem(t testing.TB, err error, status int, code api.Code, text string) {
	t.Helper()
	var p *api.Error
	if !errors.As(err, &p) {
		t.Fatalf("error %v (%T), want a problem with code %s", err, err, code)
	}
	if p.Status != status || p.Code != code || text != "" && p.Detail != text {
		t.Errorf("problem %d %s %q, want %d %s %q", p.Status, p.Code, p.Detail, status, code, text)
	}
}

func write(f *FS, path, content string) error {
	_, err := f.Write(context.Background(), path, strings.NewReader(content), WriteOptions{})
	return err
}

func TestResolve(t *testing.T) {
	f := New(Config{Home: "/home/u"})
	for _, c := range []struct{ path, want string }{
		{"", "/home/u"}, {".", "/home/u"}, {"a", "/home/u/a"}, {"./a//b/./c/", "/home/u/a/b/c"},
		{"~", "/home/u/~"}, {"/x/../y", "/x/../y"}, {"/", "/"}, {"/x/", "/x/"}, {"...", "/home/u/..."},
	} {
		if got, err := f.Resolve(c.path); got != c.want || err != nil {
			t.Errorf("Resolve(%q) = %q, %v, want %q", c.path, got, err, c.want)
		}
	}
	_, err := f.Resolve("a/../b")
	wantProblem(t, err, 400, api.CodeInvalidPath, "invalid request: invalid relative path: a/../b")
	_, err = f.Resolve("a\x00b")
	wantProblem(t, err, 400, api.CodeInvalidPath, `invalid request: path has a NUL byte: "a\x00b"`)
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", "a/../b", "/etc/../x", "a//b", "..", "a/..", "\x00", "\xff"} {
		f.Add(s)
	}
	fsys := New(Config{Home: "/home/u"})
	f.Fuzz(func(t *testing.T, path string) {
		got, err := fsys.Resolve(path)
		if err != nil {
			return
		}
		if !strings.HasPrefix(got, "/") || strings.Contains(got, "\x00") {
			t.Fatalf("Resolve(%q) = %q", path, got)
		}
		if !strings.HasPrefix(path, "/") {
			if clean := filepath.Clean(got); clean != got || clean != "/home/u" && !strings.HasPrefix(clean, "/home/u/") {
				t.Fatalf("Resolve(%q) = %q leaves home", path, got)
			}
		}
	})
}

func TestFormatTime(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for ns, want := range map[int]string{
		0: "2020-01-02T02:04:05+00:00", 500_000_000: "2020-01-02T02:04:05.500+00:00",
		1_000: "2020-01-02T02:04:05.000001+00:00", 549802207: "2020-01-02T02:04:05.549802207+00:00",
		20_000_000: "2020-01-02T02:04:05.020+00:00", 999_999_999: "2020-01-02T02:04:05.999999999+00:00", 120: "2020-01-02T02:04:05.000000120+00:00",
	} {
		if got := FormatTime(time.Date(2020, 1, 2, 3, 4, 5, ns, zone)); got != want {
			t.Errorf("FormatTime(.%09d) = %s, want %s", ns, got, want)
		}
	}
}

func TestEntries(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/b", "four")
	put(t, dir+"/.h", "")
	os.Chmod(dir+"/b", 0o751)
	os.Mkdir(dir+"/a", 0o755)
	os.Symlink("a", dir+"/link")
	os.Symlink("none", dir+"/broken")
	syscall.Mkfifo(dir+"/pipe", 0o600)
	put(t, dir+"/\xff.txt", "")
	at := time.Date(2020, 1, 2, 3, 4, 5, 500_000_000, time.UTC)
	os.Chtimes(dir+"/b", at, at)

	page, err := f.Entries(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		name   string
		kind   api.FileKind
		target string
	}
	var got []row
	for _, e := range page.Entries {
		got = append(got, row{e.Name, e.Kind, e.Target})
		if want := e.Kind == api.KindDirectory; want != (e.EntryType == api.EntryDirectory) {
			t.Errorf("%s: entryType %s for kind %s", e.Name, e.EntryType, e.Kind)
		}
	}
	want := []row{
		{".h", "file", ""}, {"a", "directory", ""}, {"b", "file", ""}, {"broken", "symlink", "none"},
		{"link", "symlink", "a"}, {"pipe", "fifo", ""}, {"\uFFFD.txt", "file", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries %v, want %v", got, want)
	}
	if raw := page.Entries[6].RawName; raw != "%FF.txt" {
		t.Errorf("rawName %q", raw)
	}
	wire, _ := json.Marshal(page.Entries[2])
	if want := `{"name":"b","path":"` + dir + `/b","entryType":"file","size":4,"modified":"2020-01-02T03:04:05.500+00:00","kind":"file","mode":"0751"}`; string(wire) != want {
		t.Errorf("wire %s\nwant %s", wire, want)
	}

	var paged []string
	for cursor := ""; ; {
		page, err := f.Entries(t.Context(), dir, cursor, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			paged = append(paged, e.Name)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(paged) != 7 || !slices.IsSorted(paged[:6]) {
		t.Errorf("pages gave %q", paged)
	}
	_, err = f.Entries(t.Context(), dir, "!", 1)
	wantProblem(t, err, 400, api.CodeInvalidPage, "")
}

// TestErrors has every mapping of an error that needs no special machine.
func TestErrors(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "x")
	put(t, dir+"/full/x", "x")
	os.Symlink("loop", dir+"/loop")
	syscall.Mkfifo(dir+"/pipe", 0o600)
	long := dir + "/" + strings.Repeat("n", 256)
	notFound := "invalid request: path not found: " + dir + "/none"
	ctx := t.Context()
	list := func(p string) error { _, err := f.Entries(ctx, p, "", 0); return err }
	read := func(p string) error { _, err := f.Open(ctx, p); return err }
	put := func(p string) error { return write(f, p, "x") }
	del := func(p string) error { _, err := f.Delete(ctx, p, false); return err }
	mkdir := func(p string) error { _, err := f.Mkdir(ctx, p); return err }
	stat := func(p string) error { _, err := f.Stat(ctx, p); return err }
	up := func(p string) error { _, err := f.Upload(ctx, p, strings.NewReader("")); return err }
	find := func(p string) error {
		_, err := f.Search(ctx, api.FileSearchRequest{Path: p, Name: "x"}, func(api.FileSearchMatch) error { return nil })
		return err
	}
	watch := func(p string) error { _, err := f.Watch(ctx, p, true); return err }
	pack := func(p string) error { _, err := f.Archive(ctx, p, PackNone); return err }
	for _, c := range []struct {
		op     string
		do     func(string) error
		path   string
		status int
		code   api.Code
		detail string
	}{
		{"list", list, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"list", list, dir + "/file", 400, api.CodeNotADirectory, "invalid request: path is not a directory: " + dir + "/file"},
		{"list", list, dir + "/pipe", 400, api.CodeNotADirectory, "invalid request: path is not a directory: " + dir + "/pipe"},
		{"list", list, dir + "/file/x", 502, api.CodeNotADirectory, "stream error: Not a directory (os error 20)"},
		{"read", read, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"read", read, dir, 400, api.CodeIsADirectory, "invalid request: path is not a file: " + dir},
		{"read", read, dir + "/pipe", 400, api.CodeNotAFile, "invalid request: path is not a file: " + dir + "/pipe"},
		{"read", read, "/dev/zero", 400, api.CodeNotAFile, "invalid request: path is not a file: /dev/zero"},
		{"read", read, dir + "/file/x", 502, api.CodeNotADirectory, "stream error: Not a directory (os error 20)"},
		{"read", read, dir + "/loop", 502, api.CodeLinkLoop, "stream error: Symbolic link loop (os error 40)"},
		{"read", read, long, 502, api.CodeNameTooLong, "stream error: Filename too long (os error 36)"},
		{"write", put, dir + "/full", 502, api.CodeIsADirectory, "stream error: Is a directory (os error 21)"},
		{"write", put, dir + "/new/", 502, api.CodeIsADirectory, "stream error: Is a directory (os error 21)"},
		{"write", put, dir + "/pipe", 400, api.CodeNotAFile, "invalid request: path is not a file: " + dir + "/pipe"},
		{"write", put, dir + "/file/x", 502, api.CodeAlreadyExists, "stream error: File exists (os error 17)"},
		{"write", put, dir + "/loop", 502, api.CodeLinkLoop, "stream error: Symbolic link loop (os error 40)"},
		{"write", put, long, 502, api.CodeNameTooLong, "stream error: Filename too long (os error 36)"},
		{"delete", del, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"delete", del, dir + "/full", 502, api.CodeNotEmpty, "stream error: Directory not empty (os error 39)"},
		{"delete", del, dir + "/file/x", 502, api.CodeNotADirectory, "stream error: Not a directory (os error 20)"},
		{"mkdir", mkdir, dir + "/file", 502, api.CodeAlreadyExists, "stream error: File exists (os error 17)"},
		{"mkdir", mkdir, dir + "/file/x", 502, api.CodeNotADirectory, "stream error: Not a directory (os error 20)"},
		{"mkdir", mkdir, long, 502, api.CodeNameTooLong, "stream error: Filename too long (os error 36)"},
		{"stat", stat, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"stat", stat, dir + "/loop", 502, api.CodeLinkLoop, "stream error: Symbolic link loop (os error 40)"},
		{"upload", up, dir + "/file", 502, api.CodeAlreadyExists, "stream error: File exists (os error 17)"},
		{"search", find, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"search", find, dir + "/file", 400, api.CodeNotADirectory, ""},
		{"watch", watch, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"archive", pack, dir + "/none", 400, api.CodePathNotFound, notFound},
		{"archive", pack, dir + "/pipe", 400, api.CodeNotAFile, ""},
	} {
		t.Run(c.op+strings.TrimPrefix(c.path, dir)[:min(8, len(strings.TrimPrefix(c.path, dir)))], func(t *testing.T) {
			wantProblem(t, c.do(c.path), c.status, c.code, c.detail)
		})
	}
	wantNames(t, dir, "file", "full", "full/x", "loop", "pipe")
	if err := write(f, dir+"/none/x\x00", ""); !errors.Is(err, api.CodeInvalidPath) {
		t.Errorf("NUL: %v", err)
	}
	if !errors.Is(read(dir+"/none"), fs.ErrNotExist) {
		t.Error("path not found is not fs.ErrNotExist")
	}
}

func TestOpen(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/f", "hello")
	os.Symlink("f", dir+"/l")
	tag := func() string {
		file, err := f.Open(t.Context(), dir+"/l")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		data, _ := io.ReadAll(file)
		if int64(len(data)) != file.Size {
			t.Errorf("size %d, read %q", file.Size, data)
		}
		return file.ETag
	}
	first := tag()
	if again := tag(); again != first || first == "" {
		t.Errorf("ETag changed from %s to %s", first, again)
	}
	if err := write(f, dir+"/f", "HELLO"); err != nil {
		t.Fatal(err)
	}
	if tag() == first {
		t.Error("a write did not change the ETag")
	}

	file, err := f.Open(t.Context(), "/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if file.Size != -1 || !bytes.Contains(data, []byte("Pid:")) || err != nil {
		t.Errorf("/proc file: size %d, %q, %v", file.Size, data, err)
	}
}

func TestWrite(t *testing.T) {
	f, dir := newFS(t)
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)

	check(write(f, "a/b/new", "text"))
	if got := mode(dir + "/a/b/new"); got != 0o644 {
		t.Errorf("mode of a new file %v", got)
	}
	check(write(f, "script", "#!/bin/sh\n"))
	if got := mode(dir + "/script"); got != 0o755 {
		t.Errorf("mode of a new script %v", got)
	}
	put(t, dir+"/kept", "long before")
	os.Chmod(dir+"/kept", 0o640)
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 1234, 4321
	}
	check(os.Chown(dir+"/kept", uid, gid))
	check(write(f, "kept", "#!after"))
	st := new(syscall.Stat_t)
	check(syscall.Stat(dir+"/kept", st))
	if mode(dir+"/kept") != 0o640 || int(st.Uid) != uid || int(st.Gid) != gid || content(t, dir+"/kept") != "#!after" {
		t.Errorf("existing file: %v %d:%d %q", mode(dir+"/kept"), st.Uid, st.Gid, content(t, dir+"/kept"))
	}
	want := fs.FileMode(0o600)
	res, err := f.Write(t.Context(), "kept", strings.NewReader("12345"), WriteOptions{Mode: &want})
	check(err)
	if mode(dir+"/kept") != 0o600 || res != (api.FileWriteResult{Path: dir + "/kept", BytesWritten: 5}) {
		t.Errorf("with mode: %v %+v", mode(dir+"/kept"), res)
	}

	check(os.Mkdir(dir+"/sub", 0o755))
	check(os.Symlink("../kept", dir+"/sub/link"))
	check(os.Symlink("dangling-target", dir+"/dangling"))
	check(write(f, "sub/link", "through"))
	check(write(f, "dangling", "made"))
	if content(t, dir+"/kept") != "through" || content(t, dir+"/dangling-target") != "made" {
		t.Error("a link was not written through")
	}
	if target, err := os.Readlink(dir + "/sub/link"); target != "../kept" || err != nil {
		t.Errorf("the link became %q, %v", target, err)
	}

	for _, text := range []string{"one\n", "two\n"} {
		_, err := f.Write(t.Context(), "log", strings.NewReader(text), WriteOptions{Append: true})
		check(err)
	}
	if got := content(t, dir+"/log"); got != "one\ntwo\n" {
		t.Errorf("appended %q", got)
	}
	for _, name := range names(t, dir) {
		if strings.Contains(name, tempPrefix) {
			t.Errorf("left behind %s", name)
		}
	}
}

func TestWriteAppendConcurrently(t *testing.T) {
	f, dir := newFS(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := f.Write(context.Background(), "log", strings.NewReader("0123456789\n"), WriteOptions{Append: true}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, want := content(t, dir+"/log"), strings.Repeat("0123456789\n", 20); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	wantNames(t, dir, "log")
}

// TestWriteFails checks that a body that fails changes nothing.
func TestWriteFails(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		body func(cancel func()) io.Reader
		want error
	}{
		"over the limit": {func(func()) io.Reader { return strings.NewReader("01234567890") }, api.CodeLimitExceeded},
		"body breaks":    {func(func()) io.Reader { return io.MultiReader(strings.NewReader("012"), failing{boom}) }, boom},
		"cancelled": {func(cancel func()) io.Reader {
			return funcReader(func(p []byte) (int, error) { cancel(); return copy(p, "0"), nil })
		}, context.Canceled},
	} {
		for _, opts := range []WriteOptions{{}, {Append: true}} {
			t.Run(name, func(t *testing.T) {
				f, dir := newFS(t)
				f.cfg.MaxFileBytes = 10
				put(t, dir+"/f", "before")
				for _, path := range []string{"f", "x/y/new"} {
					ctx, cancel := context.WithCancel(t.Context())
					if _, err := f.Write(ctx, path, c.body(cancel), opts); !errors.Is(err, c.want) {
						t.Errorf("%s: %v, want %v", path, err, c.want)
					}
					cancel()
				}
				if got := content(t, dir+"/f"); got != "before" {
					t.Errorf("content %q", got)
				}
				wantNames(t, dir, "f")
				wantNames(t, f.cfg.TempDir)
				if err := write(f, "x", "0123456789"); err != nil {
					t.Errorf("a body of exactly the limit: %v", err)
				}
			})
		}
	}
}

type failing struct{ err error }

func (r failing) Read([]byte) (int, error) { return 0, r.err }

type funcReader func([]byte) (int, error)

func (f funcReader) Read(p []byte) (int, error) { return f(p) }

func TestDelete(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/d/e/f", "x")
	os.Symlink("d", dir+"/link")
	os.Symlink("none", dir+"/broken")
	for _, path := range []string{"link", "broken"} {
		if _, err := f.Delete(t.Context(), path, false); err != nil {
			t.Error(err)
		}
	}
	os.Symlink("d", dir+"/link")
	if _, err := f.Delete(t.Context(), dir+"/link/", true); err != nil {
		t.Error(err)
	}
	wantNames(t, dir, "d", "d/e", "d/e/f")
	if _, err := f.Delete(t.Context(), "d", true); err != nil {
		t.Error(err)
	}
	wantNames(t, dir)
	for _, path := range []string{"/", "//", "/proc/self/root/.", "/tmp/..", dir, dir + "/.", filepath.Dir(dir)} {
		_, err := f.Delete(t.Context(), path, true)
		wantProblem(t, err, 400, api.CodeProtectedPath, "")
	}
}

func TestMkdir(t *testing.T) {
	f, dir := newFS(t)
	for range 2 {
		if res, err := f.Mkdir(t.Context(), "a/b/c"); err != nil || res.Path != dir+"/a/b/c" {
			t.Errorf("%+v, %v", res, err)
		}
	}
	wantNames(t, dir, "a", "a/b", "a/b/c")
}

func TestStat(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/f", "1234")
	os.Symlink("f", dir+"/l")
	st, err := f.Stat(t.Context(), "l")
	if err != nil || st.Size != 4 || st.Kind != api.KindFile || st.Target != "f" || st.Mode != "0644" || st.Modified == "" {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestBatch(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/old", "before")
	res, err := f.Batch(t.Context(), api.FileBatchRequest{Files: []api.FileBatchItem{
		{Path: "old", Content: "after"},
		{Path: "a/b", Content: "aGk=", Encoding: "base64", Mode: "0700"},
	}})
	if err != nil || len(res.Files) != 2 || res.Files[1].BytesWritten != 2 || res.Paths[0] != dir+"/old" {
		t.Fatalf("%+v, %v", res, err)
	}
	if content(t, dir+"/old") != "after" || content(t, dir+"/a/b") != "hi" {
		t.Error("contents differ")
	}
	for name, c := range map[string]struct {
		last api.FileBatchItem
		code api.Code
	}{
		"bad path":     {api.FileBatchItem{Path: "../x"}, api.CodeInvalidPath},
		"no path":      {api.FileBatchItem{}, api.CodeInvalidPath},
		"twice":        {api.FileBatchItem{Path: "./old"}, api.CodeInvalidPath},
		"bad base64":   {api.FileBatchItem{Path: "x", Content: "%", Encoding: "base64"}, api.CodeInvalidEncoding},
		"bad encoding": {api.FileBatchItem{Path: "x", Encoding: "rot13"}, api.CodeInvalidEncoding},
		"bad mode":     {api.FileBatchItem{Path: "x", Mode: "9"}, api.CodeInvalidMode},
		"a folder":     {api.FileBatchItem{Path: "a"}, api.CodeIsADirectory},
		"late":         {api.FileBatchItem{Path: "new/sub"}, api.CodeIsADirectory},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Batch(t.Context(), api.FileBatchRequest{Files: []api.FileBatchItem{
				{Path: "old", Content: "lost"}, {Path: "new", Content: "x"}, c.last,
			}})
			if !errors.Is(err, c.code) && name != "late" || err == nil {
				t.Errorf("error %v, want %s", err, c.code)
			}
			if content(t, dir+"/old") != "after" {
				t.Error("the old file is not as before")
			}
			wantNames(t, dir, "a", "a/b", "old")
		})
	}
}

// runScenario re-executes the test binary with dir as its argument.
func runScenario(t *testing.T, name, dir string, attr *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.Command(selfExe(t), dir)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.HasSuffix(out, []byte("ok\n")) {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

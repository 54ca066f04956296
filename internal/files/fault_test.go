package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of the earlier server away, under their
// numbers.

func TestFault12MoveOverwriteLosesNothing(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/d/kept", "data")
	put(t, dir+"/file", "data")
	move := func(from, to string) error { _, err := f.Move(t.Context(), from, to, true); return err }
	wantProblem(t, move("none", "d"), 400, api.CodePathNotFound, "invalid request: path not found: "+dir+"/none")
	for _, same := range []string{"file", "./file", dir + "//file", "d"} {
		if err := move(strings.TrimPrefix(same, "./"), same); err != nil {
			t.Errorf("onto itself: %v", err)
		}
	}
	wantProblem(t, move("d", "d/kept/x"), 502, api.CodeMoveIntoItself, "stream error: Invalid argument (os error 22)")
	wantProblem(t, move("d", "d/x"), 502, api.CodeMoveIntoItself, "")
	wantProblem(t, move("d/kept", "d"), 502, api.CodeMoveIntoItself, "")
	os.Symlink("d", dir+"/link")
	wantProblem(t, move("d", "link/x"), 502, api.CodeMoveIntoItself, "")
	os.Remove(dir + "/link")
	wantProblem(t, move("file", dir), 400, api.CodeProtectedPath, "")
	wantNames(t, dir, "d", "d/kept", "file")
	if content(t, dir+"/file") != "data" || content(t, dir+"/d/kept") != "data" {
		t.Error("contents changed")
	}
}

func TestFault13MoveLeavesNoParents(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "x")
	_, err := f.Move(t.Context(), "none", "a/b/c", false)
	wantProblem(t, err, 400, api.CodePathNotFound, "")
	_, err = f.Move(t.Context(), "file", "a/b/"+strings.Repeat("n", 256), false)
	wantProblem(t, err, 502, api.CodeNameTooLong, "")
	wantNames(t, dir, "file")
}

func TestFault14BrokenLink(t *testing.T) {
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

// entry is one entry of a test archive.
type entry struct {
	name, body, link string
	typ              byte
	mode             int64
}

func tarball(entries ...entry) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.typ == 0 {
			e.typ = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		hdr := &tar.Header{Name: e.name, Typeflag: e.typ, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body)), ModTime: time.Unix(1e9, 0)}
		if err := tw.WriteHeader(hdr); err != nil {
			panic(err)
		}
		io.WriteString(tw, e.body)
	}
	tw.Close()
	return buf.Bytes()
}

func TestFault15ArchiveCannotEscape(t *testing.T) {
	outside := t.TempDir()
	put(t, outside+"/secret", "s")
	link := func(name, to string) entry { return entry{name: name, typ: tar.TypeSymlink, link: to} }
	hard := func(name, to string) entry { return entry{name: name, typ: tar.TypeLink, link: to} }
	for name, entries := range map[string][]entry{
		"absolute name":           {{name: outside + "/pwn"}},
		"dots":                    {{name: "a/../../pwn"}},
		"through link":            {link("l", "."), {name: "l/pwn"}},
		"through absolute link":   {link("l", outside), {name: "l/pwn"}},
		"through link up":         {link("a/l", "../.."), {name: "a/l/pwn"}},
		"link through link":       {link("d/e/l", "../.."), link("d/e/l/m", "../../x")},
		"link without target":     {link("l", "")},
		"folder over link":        {link("l", "."), {name: "l", typ: tar.TypeDir}, {name: "l/pwn"}},
		"hard link absolute":      {hard("h", outside+"/secret")},
		"hard link up":            {hard("h", "../secret")},
		"hard link to none":       {hard("h", "none")},
		"hard link to link":       {link("l", "x"), hard("h", "l")},
		"hard link through there": {hard("h", "there/secret")},
		"hard link through link":  {link("l", outside), hard("h", "l/secret")},
		"through link there":      {{name: "there/pwn"}},
		"folder over link there":  {{name: "there", typ: tar.TypeDir}},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFS(t)
			os.Symlink(outside, dir+"/there")
			_, err := f.Upload(t.Context(), dir, bytes.NewReader(tarball(append([]entry{{name: "first", body: "x"}}, entries...)...)))
			var p *api.Error
			if !errors.As(err, &p) || p.Status != 400 {
				t.Errorf("error %v, want a 400 problem", err)
			}
			wantNames(t, dir, "there")
			wantNames(t, outside, "secret")
		})
	}
}

func TestUploadKeepsLinksThatLeadOutAndFollowsNone(t *testing.T) {
	outside := t.TempDir()
	put(t, outside+"/secret", "s")
	for name, target := range map[string]string{
		"bin/python": "/usr/bin/python3", "l": outside, "a/b/up": "../../../x", "down-up": "a/b/up/../../x",
		"self": "self", "none": "/none", "file": outside + "/secret", "here": ".",
	} {
		f, dir := newFS(t)
		put(t, dir+"/file", "replaced")
		archive := tarball(entry{name: name, typ: tar.TypeSymlink, link: target}, entry{name: "last", body: "x"})
		res, err := f.Upload(t.Context(), dir, bytes.NewReader(archive))
		if err != nil || len(res.Skipped) != 0 {
			t.Errorf("%s to %s: %+v, %v", name, target, res, err)
		}
		if got, err := os.Readlink(dir + "/" + name); got != target {
			t.Errorf("%s points to %q, %v; want %q", name, got, err, target)
		}
		wantNames(t, outside, "secret")
		if content(t, outside+"/secret") != "s" {
			t.Errorf("%s to %s was followed", name, target)
		}
	}
}

func TestUploadNamesWhatItSkips(t *testing.T) {
	f, dir := newFS(t)
	archive := tarball(entry{name: "d/p", typ: tar.TypeFifo}, entry{name: "n", typ: tar.TypeChar}, entry{name: "b", typ: tar.TypeBlock},
		entry{name: "f", body: "x"})
	res, err := f.Upload(t.Context(), dir, bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "d", "f")
	var skipped []string
	for _, s := range res.Skipped {
		skipped = append(skipped, s.Path+": "+s.Reason)
	}
	want := []string{dir + "/d/p: the entry is a FIFO", dir + "/n: the entry is a device", dir + "/b: the entry is a device"}
	if !slices.Equal(skipped, want) {
		t.Errorf("%q, want %q", skipped, want)
	}
}

func TestFault16UploadIsAllOrNothing(t *testing.T) {
	good := entry{name: "new/good", body: "x"}
	whole := tarball(good, entry{name: "big", body: strings.Repeat("y", 4096)})
	boom := errors.New("boom")
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	zw.Write(whole)
	zw.Close()
	for name, c := range map[string]struct {
		body io.Reader
		want error
	}{
		"bad name last": {bytes.NewReader(tarball(good, entry{name: "../x"})), api.CodeInvalidPath},
		"cut":           {bytes.NewReader(whole[:len(whole)-3000]), api.CodeInvalidArchive},
		"no archive":    {strings.NewReader(strings.Repeat("nonsense", 200)), api.CodeInvalidArchive},
		"gzip cut":      {bytes.NewReader(gz.Bytes()[:gz.Len()-5]), api.CodeInvalidArchive},
		"body breaks":   {io.MultiReader(bytes.NewReader(whole[:1500]), failing{boom}), boom},
		"over a folder": {bytes.NewReader(tarball(good, entry{name: "old", body: "lost"}, entry{name: "sub", body: "x"})), api.CodeIsADirectory},
		"over a file":   {bytes.NewReader(tarball(good, entry{name: "aaa/old", body: "x"}, entry{name: "old/x", body: "x"})), api.CodeNotADirectory},
		"too large":     {bytes.NewReader(tarball(good, entry{name: "old", body: strings.Repeat("y", 20000)})), api.CodeLimitExceeded},
		"too many":      {bytes.NewReader(tarball(good, good, good, good, good)), api.CodeLimitExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFS(t)
			f.cfg.MaxUploadBytes, f.cfg.MaxUploadEntries = 16<<10, 4
			put(t, dir+"/old", "before")
			put(t, dir+"/sub/x", "before")
			if _, err := f.Upload(t.Context(), dir, c.body); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			wantNames(t, dir, "old", "sub", "sub/x")
			if content(t, dir+"/old") != "before" {
				t.Error("a file was replaced")
			}
		})
	}
	f, dir := newFS(t)
	if _, err := f.Upload(t.Context(), "a/b", strings.NewReader("x")); err == nil {
		t.Error("no error")
	}
	wantNames(t, dir)
}

func TestUpload(t *testing.T) {
	archive := tarball(
		entry{name: "./", typ: tar.TypeDir, mode: 0o700}, entry{name: "sub", typ: tar.TypeDir, mode: 0o555},
		entry{name: "sub/f", body: "new", mode: 0o4750}, entry{name: "sub/l", typ: tar.TypeSymlink, link: "../old"},
		entry{name: "h", typ: tar.TypeLink, link: "sub/f"}, entry{name: "old", body: "first"}, entry{name: "old", body: "after"},
	)
	pack := func(w io.WriteCloser, buf *bytes.Buffer) []byte { w.Write(archive); w.Close(); return buf.Bytes() }
	var g, z bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"plain": archive, "gzip": pack(gzip.NewWriter(&g), &g), "zstd": pack(zw, &z)} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFS(t)
			put(t, dir+"/t/old", "before")
			put(t, dir+"/t/other", "kept")
			res, err := f.Upload(t.Context(), "t", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			base := dir + "/t"
			want := []string{base + "/sub", base + "/sub/f", base + "/sub/l", base + "/h", base + "/old", base + "/old"}
			if strings.Join(res.Paths, " ") != strings.Join(want, " ") || res.Truncated {
				t.Errorf("%+v", res)
			}
			wantNames(t, base, "h", "old", "other", "sub", "sub/f", "sub/l")
			info, _ := os.Stat(base + "/sub/f")
			if info.Mode() != 0o750 || info.ModTime().Unix() != 1e9 || content(t, base+"/h") != "new" || content(t, base+"/sub/l") != "after" {
				t.Errorf("%v %v %q %q", info.Mode(), info.ModTime(), content(t, base+"/h"), content(t, base+"/sub/l"))
			}
			if info, _ := os.Stat(base + "/sub"); info.Mode().Perm() != 0o555 {
				t.Errorf("mode of the folder %v", info.Mode())
			}
			os.Chmod(base+"/sub", 0o755) // to be removed
		})
	}
	f, _ := newFS(t)
	if res, err := f.Upload(t.Context(), "empty", strings.NewReader("")); err != nil || res.Paths == nil || len(res.Paths) != 0 {
		t.Errorf("empty body: %+v, %v", res, err)
	}
}

func FuzzUpload(f *testing.F) {
	f.Add(tarball(entry{name: "a/b", body: "x"}, entry{name: "l", typ: tar.TypeSymlink, link: "a"}))
	f.Add(tarball(entry{name: "l", typ: tar.TypeSymlink, link: "../.."}, entry{name: "l/x"}))
	f.Add(tarball(entry{name: "/etc/x"}, entry{name: "h", typ: tar.TypeLink, link: "/etc/passwd"}))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		fsys := New(Config{Home: base, MaxUploadBytes: 1 << 20, MaxUploadEntries: 100})
		_, err := fsys.Upload(context.Background(), base+"/in", bytes.NewReader(data))
		got := names(t, base)
		if err != nil && len(got) != 0 {
			t.Fatalf("failed with %v and left %q", err, got)
		}
		for _, name := range got {
			if name != "in" && !strings.HasPrefix(name, "in/") || strings.Contains(name, tempPrefix) {
				t.Fatalf("made %q", name)
			}
		}
	})
}

func TestFault17WritesAreAtomicAndLarge(t *testing.T) {
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

func TestFault18SpecialFilesDoNotBlock(t *testing.T) {
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

func TestMove(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "file")
	put(t, dir+"/d1/one", "1")
	put(t, dir+"/d2/two", "2")
	move := func(from, to string, overwrite bool) {
		t.Helper()
		if _, err := f.Move(t.Context(), from, to, overwrite); err != nil {
			t.Errorf("%s to %s: %v", from, to, err)
		}
	}
	_, err := f.Move(t.Context(), "file", "d1", false)
	wantProblem(t, err, 400, api.CodeAlreadyExists, "invalid request: destination already exists: "+dir+"/d1")
	move("file", "new/deep/file", false)
	move("d1", "d2", true)
	wantNames(t, dir, "d2", "d2/one", "new", "new/deep", "new/deep/file")
	move("new/deep/file", "d2", true)
	wantNames(t, dir, "d2", "new", "new/deep")
	move("new", "d2", true)
	wantNames(t, dir, "d2", "d2/deep")

	put(t, dir+"/a", "same")
	os.Link(dir+"/a", dir+"/b")
	move("a", "b", true)
	os.Symlink("b", dir+"/l")
	move("l", "moved", false)
	wantNames(t, dir, "b", "d2", "d2/deep", "moved")
}

// TestUploadSparse keeps a small archive from filling the disk with holes.
func TestUploadSparse(t *testing.T) {
	f, dir := newFS(t)
	f.cfg.MaxUploadBytes = 1 << 20
	src := t.TempDir()
	put(t, src+"/holes", "")
	if err := os.Truncate(src+"/holes", 1<<40); err != nil {
		t.Fatal(err)
	}
	archive, err := exec.Command("tar", "-S", "-C", src, "-cf", "-", "holes").Output()
	if err != nil {
		t.Fatalf("the test needs tar: %v", err)
	}
	_, err = f.Upload(t.Context(), "in", bytes.NewReader(archive))
	wantProblem(t, err, 413, api.CodeLimitExceeded, "")
	wantNames(t, dir)
}

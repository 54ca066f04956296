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
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of the earlier server away, under their
// numbers.

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

func TestArchiveCannotEscape(t *testing.T) {
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

func TestUploadIsAllOrNothing(t *testing.T) {
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

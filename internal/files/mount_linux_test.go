package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestMountPoints(t *testing.T) { runScenario(t, "mounts", t.TempDir(), ownMounts()) }

// childMounts has mounts of its own: dir/d/m is a mount point for the file dir/real,
// and dir/proc one for /proc.
func childMounts(f *FS, dir string) error {
	put := func(name, content string) error { return os.WriteFile(dir+"/"+name, []byte(content), 0o644) }
	err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		os.MkdirAll(dir+"/d/sub", 0o755), os.Mkdir(dir+"/proc", 0o755), os.Mkdir(dir+"/far", 0o755),
		put("real", "before"), put("d/m", ""),
		syscall.Mount(dir+"/real", dir+"/d/m", "", syscall.MS_BIND, ""),
		syscall.Mount("/proc", dir+"/proc", "", syscall.MS_BIND|syscall.MS_REC, ""),
		syscall.Mount("tmpfs", dir+"/far", "tmpfs", 0, "size=1m"),
	)
	if err != nil {
		return err
	}
	want := func(what, content string) error {
		m, err := os.ReadFile(dir + "/d/m")
		real, rerr := os.ReadFile(dir + "/real")
		if string(m) != content || string(real) != content {
			return fmt.Errorf("after %s: %q, %q; want %q: %w", what, m, real, content, errors.Join(err, rerr))
		}
		return nil
	}
	up := func(entries ...entry) error {
		_, err := f.Upload(context.Background(), dir+"/d", bytes.NewReader(tarball(entries...)))
		return err
	}
	move := func(from, to string) error {
		_, err := f.Move(context.Background(), from, to, true)
		return err
	}
	return errors.Join(
		up(entry{name: "m", body: "uploaded", mode: 0o600}), want("an upload", "uploaded"), wantMode(dir+"/real", 0o600),
		expect("upload", up(entry{name: "m", body: "lost"}, entry{name: "sub", body: "a directory"}), 502, api.CodeIsADirectory, ""),
		want("an upload that fails", "uploaded"), wantMode(dir+"/real", 0o600),
		expect("link", up(entry{name: "m", typ: tar.TypeSymlink, link: "x"}), 502, api.CodeBusy, ""),
		put("new", "moved"), move("new", "d/m"), want("a move", "moved"),
		put("far/new", "from far"), move("far/new", "d/m"), want("a move from elsewhere", "from far"),
		expect("move", move("d/m", "elsewhere"), 502, api.CodeBusy, ""), want("a move of the mount point", "from far"),
		write(f, "d/m", "written"), want("a write", "written"),
		batchFails(f, dir), want("a batch that fails", "written"),
		expectNames(dir+"/far"), expectNames(dir+"/d", "m", "sub"), expectNames(dir, "d", "far", "proc", "real"),
		watchesAroundProc(f, dir),
	)
}

func wantMode(path string, mode os.FileMode) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != mode {
		return fmt.Errorf("mode of %s: %v, %w; want %v", path, info.Mode(), err, mode)
	}
	return nil
}

// batchFails writes the mount point, and then what is too large.
func batchFails(f *FS, dir string) error {
	_, err := f.Batch(context.Background(), api.FileBatchRequest{Files: []api.FileBatchItem{
		{Path: "d/m", Content: "lost"}, {Path: "far/big", Content: strings.Repeat("x", 2<<20)},
	}})
	return expect("batch", err, 502, api.CodeNoSpace, "")
}

// watchesAroundProc watches a tree with /proc in it.
func watchesAroundProc(f *FS, dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := f.Watch(ctx, dir, true)
	if err != nil {
		return err
	}
	if ev := <-events; ev.Type != api.WatchLimited || ev.Path != dir+"/proc" || ev.Error == "" {
		return fmt.Errorf("first event %+v, want one that says that proc is not watched", ev)
	}
	if err := os.WriteFile(dir+"/d/sub/new", nil, 0o644); err != nil {
		return err
	}
	if ev := <-events; ev.Type != api.WatchCreate || ev.Path != dir+"/d/sub/new" {
		return fmt.Errorf("event %+v, want that of a new file", ev)
	}
	return os.Remove(dir + "/d/sub/new")
}

package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// runChild runs a scenario in a process that has given up something: root's
// rights, or the machine's mounts.
func runChild(name string) {
	dir := os.Args[1]
	f := New(Config{Home: dir, TempDir: filepath.Join(dir, "tmp")})
	var err error
	switch name {
	case "permission":
		err = childPermission(f, dir)
	case "disk-full":
		err = childDiskFull(f, dir)
	case "across":
		err = childAcross(f, dir)
	case "mounts":
		err = childMounts(f, dir)
	default:
		err = killedChild(name, dir)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// expect returns an error unless err is a problem with status, code and text.
func expect(what string, err error, status int, code api.Code, text string) error {
	var p *api.Error
	if !errors.As(err, &p) || p.Status != status || p.Code != code || !strings.HasSuffix(p.Detail, text) {
		return fmt.Errorf("%s: error %w, want %d %s %q", what, err, status, code, text)
	}
	return nil
}

func childPermission(f *FS, dir string) error {
	if os.Geteuid() == 0 {
		return errors.New("still root")
	}
	ctx := context.Background()
	_, errRead := f.Open(ctx, "secret")
	_, errList := f.Entries(ctx, "closed", "", 0)
	_, errDelete := f.Delete(ctx, "shut/file", false)
	_, errMove := f.Move(ctx, "shut/file", "tmp/file", false)
	_, errMkdir := f.Mkdir(ctx, "shut/new")
	_, errUpload := f.Upload(ctx, "shut", strings.NewReader(""))
	const denied = "stream error: Permission denied (os error 13)"
	err := errors.Join(
		expect("read", errRead, 502, api.CodePermissionDenied, denied),
		expect("list", errList, 502, api.CodePermissionDenied, denied),
		expect("write", write(f, "readonly", "x"), 502, api.CodePermissionDenied, denied),
		expect("write new", write(f, "shut/new", "x"), 502, api.CodePermissionDenied, denied),
		expect("delete", errDelete, 502, api.CodePermissionDenied, denied),
		expect("move", errMove, 502, api.CodePermissionDenied, denied),
		expect("mkdir", errMkdir, 502, api.CodePermissionDenied, denied),
		expect("upload", errUpload, 502, api.CodePermissionDenied, denied),
	)
	// A file that may be written in a folder that may not: written in place.
	if werr := write(f, "shut/file", "in place"); werr != nil {
		err = errors.Join(err, fmt.Errorf("write in place: %w", werr))
	}
	if data, rerr := os.ReadFile(dir + "/shut/file"); string(data) != "in place" {
		err = errors.Join(err, fmt.Errorf("written in place: %q, %w", data, rerr))
	}
	return err
}

// childDiskFull has a mount namespace of its own and fills a small filesystem.
func childDiskFull(f *FS, dir string) error {
	if err := mountTmpfs(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir+"/tmp", 0o700); err != nil {
		return err
	}
	if err := write(f, "kept", "before"); err != nil {
		return err
	}
	big := strings.Repeat("x", 2<<20)
	const full = "stream error: No space left on device (os error 28)"
	_, errBatch := f.Batch(context.Background(), api.FileBatchRequest{Files: []api.FileBatchItem{
		{Path: "kept", Content: "lost"}, {Path: "n/new", Content: big},
	}})
	_, errUpload := f.Upload(context.Background(), "up/here", strings.NewReader(string(tarball(entry{name: "small", body: "x"}, entry{name: "kept", body: big}))))
	err := errors.Join(
		expect("write", write(f, "kept", big), 502, api.CodeNoSpace, full),
		expect("write new", write(f, "a/b", big), 502, api.CodeNoSpace, full),
		expect("batch", errBatch, 502, api.CodeNoSpace, full),
		expect("upload", errUpload, 502, api.CodeNoSpace, full),
	)
	if data, rerr := os.ReadFile(dir + "/kept"); string(data) != "before" || rerr != nil {
		err = errors.Join(err, fmt.Errorf("kept file: %q, %w", data, rerr))
	}
	return errors.Join(err, expectNames(dir, "kept", "tmp"))
}

// childAcross moves between two filesystems.
func childAcross(f *FS, dir string) error {
	src, dst := dir+"/src", dir+"/dst"
	if err := errors.Join(os.Mkdir(src, 0o755), os.Mkdir(dst, 0o755), mountTmpfs(dst)); err != nil {
		return err
	}
	ctx := context.Background()
	err := errors.Join(
		os.MkdirAll(src+"/tree/sub", 0o750), os.WriteFile(src+"/tree/sub/f", []byte("data"), 0o640),
		os.Symlink("sub/f", src+"/tree/l"), syscall.Mkfifo(src+"/tree/p", 0o600),
		os.WriteFile(src+"/big", make([]byte, 2<<20), 0o600), os.WriteFile(dst+"/old", []byte("before"), 0o600),
	)
	if err != nil {
		return err
	}
	if _, err := f.Move(ctx, "src/tree", "dst/made/tree", false); err != nil {
		return fmt.Errorf("move tree: %w", err)
	}
	if data, err := os.ReadFile(dst + "/made/tree/l"); string(data) != "data" {
		return fmt.Errorf("moved file: %q, %w", data, err)
	}
	info, err := os.Stat(dst + "/made/tree/sub/f")
	if err != nil || info.Mode() != 0o640 {
		return fmt.Errorf("mode of moved file: %v, %w", info.Mode(), err)
	}
	_, full := f.Move(ctx, "src/big", "dst/old", true)
	_, fullNew := f.Move(ctx, "src/big", "dst/x/y", false)
	err = errors.Join(expect("too big", full, 502, api.CodeNoSpace, ""), expect("too big, new", fullNew, 502, api.CodeNoSpace, ""))
	if data, _ := os.ReadFile(dst + "/old"); string(data) != "before" {
		err = errors.Join(err, fmt.Errorf("destination: %q", data))
	}
	return errors.Join(err, expectNames(src, "big"), expectNames(dst, "made", "old"))
}

func expectNames(dir string, want ...string) error {
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return errors.Join(err, fmt.Errorf("in %s: %q, want %q", dir, got, want))
	}
	return err
}

// nobody is a user without rights.
const nobody = 65534

// asNobody makes a folder and returns how a child runs that owns it and is not
// root: as a user of its own, unless nobody here is root.
func asNobody(t *testing.T) (dir string, attr *syscall.SysProcAttr) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "files-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() != 0 {
		return dir, nil
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

func TestPermissionDenied(t *testing.T) {
	dir, attr := asNobody(t)
	put(t, dir+"/secret", "x")
	put(t, dir+"/readonly", "x")
	put(t, dir+"/shut/file", "x")
	err := errors.Join(
		os.Chmod(dir+"/secret", 0), os.Chmod(dir+"/readonly", 0o444), os.Mkdir(dir+"/closed", 0), os.Chmod(dir+"/shut/file", 0o666),
		os.Mkdir(dir+"/tmp", 0o777), os.Chmod(dir+"/tmp", 0o777), os.Chmod(dir+"/shut", 0o555),
	)
	if err != nil {
		t.Fatal(err)
	}
	runScenario(t, "permission", dir, attr)
	wantNames(t, dir+"/tmp")
	if err := errors.Join(os.Chmod(dir+"/closed", 0o700), os.Chmod(dir+"/shut", 0o755)); err != nil {
		t.Error(err)
	}
}

// TestAllWithoutRights repeats the tests of this package as a user who is not root.
func TestAllWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		return // they run so anyway
	}
	dir, attr := asNobody(t)
	cmd := exec.Command(selfExe(t), "-test.count=1")
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir), attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

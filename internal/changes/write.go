package changes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
)

// A writer changes a directory step by step: what goes first, then what comes.
type writer struct {
	root  *os.Root
	steps []step
	store *Store
	left  []api.SkippedPath
}

func (w *writer) write(ctx context.Context) error {
	if err := w.remove(); err != nil {
		return err
	}
	if err := w.makeDirs(); err != nil {
		return err
	}
	if err := w.files(ctx); err != nil {
		return err
	}
	return w.modes()
}

// remove removes what is gone or becomes another kind, what is in a directory before
// the directory. A directory with other files in it stays.
func (w *writer) remove() error {
	for i := len(w.steps) - 1; i >= 0; i-- {
		s := w.steps[i]
		dir := s.was.Mode.IsDir()
		if s.was.missing() || !s.now.missing() && s.now.Mode.Type() == s.was.Mode.Type() {
			continue
		}
		info, err := w.root.Lstat(s.path)
		if err == nil && info.Mode().Type() != s.was.Mode.Type() {
			continue // a step that was not reached is undone
		}
		err = w.root.Remove(s.path)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist) || isNotDir(err):
		case dir && s.now.missing() && (errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist)):
			w.left = append(w.left, api.SkippedPath{Path: s.path, Reason: "it holds other files"})
		default:
			return err
		}
	}
	return nil
}

func (w *writer) makeDirs() error {
	for _, s := range w.steps {
		if s.now.missing() || !s.now.Mode.IsDir() {
			continue
		}
		if err := w.mkdir(s.path); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a directory, and those above it, as the owner of what it is in.
func (w *writer) mkdir(name string) error {
	if name == "." {
		return nil
	}
	if info, err := w.root.Lstat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := w.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := w.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return w.own(name, path.Dir(name))
}

// own gives a path the owner of another. Only root can, and only root needs to.
func (w *writer) own(name, as string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := w.root.Lstat(as)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return w.root.Lchown(name, int(stat.Uid), int(stat.Gid))
}

// files writes files and links, with their contents in the order of the steps.
func (w *writer) files(ctx context.Context) error {
	var hashes []string
	var steps []step
	for _, s := range w.steps {
		switch {
		case s.now.missing() || s.now.Mode.IsDir():
		case s.content != "":
			if err := w.merged(s); err != nil {
				return err
			}
		default:
			hashes, steps = append(hashes, s.now.Hash), append(steps, s)
		}
	}
	return w.store.contents(ctx, hashes, func(i int, _ int64, content io.Reader) error {
		return w.file(steps[i], content)
	})
}

func (w *writer) merged(s step) error {
	file, err := os.Open(s.content)
	if err != nil {
		return err
	}
	defer file.Close()
	return w.file(s, file)
}

// file puts a file or a link in the place of what is there, in one step.
func (w *writer) file(s step, content io.Reader) (err error) {
	dir := path.Dir(s.path)
	if err := w.mkdir(dir); err != nil {
		return err
	}
	temp := path.Join(dir, fmt.Sprintf(".sandbox-agent-%08x", rand.Uint32()))
	defer func() {
		if err != nil {
			_ = w.root.Remove(temp) // what failed is the error
		}
	}()
	if s.now.Mode&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		if err := w.root.Symlink(string(target), temp); err != nil {
			return err
		}
	} else if err := w.content(temp, s.now.Mode.Perm(), content); err != nil {
		return err
	}
	as := dir
	if _, err := w.root.Lstat(s.path); err == nil {
		as = s.path
	}
	if err := w.own(temp, as); err != nil {
		return err
	}
	return w.root.Rename(temp, s.path)
}

func (w *writer) content(temp string, mode fs.FileMode, content io.Reader) error {
	file, err := w.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return errors.Join(file.Chmod(mode), file.Close())
}

// modes gives directories their permissions, the inner ones first, when nothing is
// written into them any more.
func (w *writer) modes() error {
	for i := len(w.steps) - 1; i >= 0; i-- {
		s := w.steps[i]
		if s.now.missing() || !s.now.Mode.IsDir() {
			continue
		}
		if err := w.root.Chmod(s.path, s.now.Mode.Perm()); err != nil {
			return err
		}
	}
	return nil
}

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// keep stores the contents of the named paths of a directory.
func (s *Store) keep(ctx context.Context, root *os.Root, scan *scanner, names []string) error {
	return s.fill(ctx, func(out *bufio.Writer) error {
		scan.out = out
		for _, name := range names {
			if err := keepOne(root, scan, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func keepOne(root *os.Root, scan *scanner, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := root.Readlink(name)
		if err != nil {
			return err
		}
		_, err = scan.store(Entry{Size: int64(len(target))}, strings.NewReader(target))
		return err
	}
	file, err := openFile(root, name, info)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = scan.store(Entry{Size: info.Size()}, file)
	return err
}

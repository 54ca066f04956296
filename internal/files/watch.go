package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sandboxagent/sandboxagent/api"
)

// Watch reports the changes of the file or directory path, with recursive those of
// all directories below it, new ones included. Once it returns no change is missed.
// The channel is closed when ctx ends or when path itself is gone. It has no
// buffer: a slow reader makes the kernel's queue fill up, and gets an overflow
// event for what that could not hold. Links below path are not followed, and the
// hidden files that writes go through are not reported. A directory below path that
// cannot be watched, or that is of a filesystem that the kernel generates and
// reports no changes of, such as /proc, is the path of a limited event.
func (f *FS) Watch(ctx context.Context, path string, recursive bool) (<-chan api.FileWatchEvent, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, problem(err, path)
	}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, watchProblem(err, path)
	}
	w := &watch{
		ctx: ctx, notify: notify, root: filepath.Clean(path), max: f.cfg.MaxWatches,
		recursive: recursive && info.IsDir(), generated: generatedDir(path), dirs: map[string]bool{}, events: make(chan api.FileWatchEvent),
	}
	if info.IsDir() {
		err = w.add(w.root, nil)
	} else {
		// The directory is watched, since a program that replaces the file would
		// remove a watch on the file itself.
		w.only = w.root
		err = w.add(filepath.Dir(w.root), nil)
	}
	if err != nil {
		notify.Close()
		return nil, watchProblem(err, path)
	}
	go w.run()
	return w.events, nil
}

type watch struct {
	ctx       context.Context
	notify    *fsnotify.Watcher
	root      string
	only      string // the one path of interest, if path is a file
	recursive bool
	generated bool // root is of a filesystem that the kernel generates
	max       int
	dirs      map[string]bool      // directories being watched
	limited   []api.FileWatchEvent // for directories that are not watched, to be sent
	events    chan api.FileWatchEvent
}

// errTooMany is the limit of one watch.
var errTooMany = errors.New("too many directories")

// watchProblem names the limit where the system has one.
func watchProblem(err error, path string) error {
	switch {
	case errors.Is(err, errTooMany):
		return api.InvalidRequest(api.CodeWatchLimit, "watch %s: %w", path, err).With("path", path).With("limit", "maxWatches")
	case errors.Is(err, syscall.ENOSPC):
		return api.StreamError(api.CodeWatchLimit, "watch %s: too many watches in the system (fs.inotify.max_user_watches)", path).With("path", path)
	case errors.Is(err, syscall.EMFILE):
		return api.StreamError(api.CodeWatchLimit, "watch %s: too many watchers in the system (fs.inotify.max_user_instances)", path).With("path", path)
	}
	return problem(err, path)
}

// errGenerated is why a directory is not watched.
var errGenerated = errors.New("the kernel reports no changes of this filesystem")

// limit reports whether err is one of those for which a watch as a whole fails.
func limit(err error) bool {
	return errors.Is(err, errTooMany) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE)
}

// add watches dir and, in a recursive watch, the directories below it. found is
// called for what is in them, and may be nil. Those below that cannot be watched
// are added to w.limited.
func (w *watch) add(dir string, found func(path string)) error {
	if w.dirs[dir] {
		return nil
	}
	if len(w.dirs) >= w.max {
		return fmt.Errorf("%w: more than maxWatches (%d)", errTooMany, w.max)
	}
	if err := w.notify.Add(dir); err != nil {
		return err
	}
	w.dirs[dir] = true
	if !w.recursive {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if isTemp(path) {
			continue
		}
		if found != nil {
			found(path)
		}
		if !e.IsDir() {
			continue
		}
		err := w.below(path, found)
		switch {
		case limit(err):
			return err
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			w.limited = append(w.limited, api.FileWatchEvent{Type: api.WatchLimited, Path: path, Error: err.Error()})
		}
	}
	return nil
}

// below is add for a directory below the root.
func (w *watch) below(dir string, found func(path string)) error {
	if !w.generated && generatedDir(dir) {
		return errGenerated
	}
	return w.add(dir, found)
}

// sendLimited reports the directories that are not watched. It returns false when
// the watch is over.
func (w *watch) sendLimited() bool {
	for _, ev := range w.limited {
		if !w.send(ev) {
			return false
		}
	}
	w.limited = nil
	return true
}

// drop forgets dir and what is below it.
func (w *watch) drop(dir string) {
	if !w.dirs[dir] {
		return
	}
	for d := range w.dirs {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			delete(w.dirs, d)
			w.notify.Remove(d) // fails if the kernel was first, which is the aim
		}
	}
}

// run passes events on until the end of the watch.
func (w *watch) run() {
	defer close(w.events)
	defer w.notify.Close()
	if !w.sendLimited() {
		return
	}
	for {
		select {
		case <-w.ctx.Done():
			return
		case ev, ok := <-w.notify.Events:
			if !ok || !w.event(ev) {
				return
			}
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			out := api.FileWatchEvent{Type: api.WatchOverflow, Path: w.root, Error: err.Error()}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				w.readd()
			}
			if !w.send(out) || !w.sendLimited() {
				return
			}
		}
	}
}

// readd watches directories whose creation was lost in an overflow.
func (w *watch) readd() {
	if !w.recursive {
		return
	}
	for _, d := range w.notify.WatchList() {
		if !isDir(d) {
			w.drop(d)
		}
	}
	filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if isTemp(path) || path != w.root && !w.generated && generatedDir(path) {
			return fs.SkipDir
		}
		w.add(path, nil)
		return w.ctx.Err()
	})
}

// isTemp reports whether a path is one of ours that is not in its place: when it
// gets there, that is a change.
func isTemp(path string) bool { return strings.HasPrefix(filepath.Base(path), tempPrefix) }

func (w *watch) event(ev fsnotify.Event) bool {
	if w.only != "" && ev.Name != w.only || isTemp(ev.Name) {
		return true
	}
	if ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename) {
		w.drop(ev.Name)
	}
	for _, t := range []struct {
		op  fsnotify.Op
		typ api.FileWatchType
	}{
		{fsnotify.Create, api.WatchCreate}, {fsnotify.Write, api.WatchModify}, {fsnotify.Chmod, api.WatchChmod},
		{fsnotify.Rename, api.WatchRename}, {fsnotify.Remove, api.WatchRemove},
	} {
		if ev.Has(t.op) && !w.send(api.FileWatchEvent{Type: t.typ, Path: ev.Name}) {
			return false
		}
	}
	if ev.Has(fsnotify.Create) && w.recursive {
		return w.created(ev.Name)
	}
	if ev.Has(fsnotify.Rename) && exists(ev.Name) {
		// Two names have changed places: the kernel reports that something was moved
		// away after it has reported what took its name.
		if ev.Name == w.root && !w.recursive && !w.created(ev.Name) {
			return false
		}
		return w.send(api.FileWatchEvent{Type: api.WatchCreate, Path: ev.Name}) && (!w.recursive || w.created(ev.Name))
	}
	return ev.Name != w.root || w.only != "" || !ev.Has(fsnotify.Remove|fsnotify.Rename) || exists(w.root)
}

// created goes into a new directory. What was put into it before it was watched
// is reported here; it may be reported by the kernel once more.
func (w *watch) created(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return true
	}
	open := true
	err = w.below(path, func(path string) {
		open = open && w.send(api.FileWatchEvent{Type: api.WatchCreate, Path: path})
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.limited = append(w.limited, api.FileWatchEvent{Type: api.WatchLimited, Path: path, Error: watchProblem(err, path).Error()})
	}
	return open && w.sendLimited()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// send reports false when the watch is over.
func (w *watch) send(ev api.FileWatchEvent) bool {
	if info, err := os.Lstat(ev.Path); err == nil {
		ev.Kind = kindOfMode(info.Mode())
	}
	ev.Path = strings.ToValidUTF8(ev.Path, "\uFFFD")
	ev.Time = time.Now().UTC()
	select {
	case w.events <- ev:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func kindOfMode(mode fs.FileMode) api.FileKind {
	switch mode.Type() {
	case 0:
		return api.KindFile
	case fs.ModeDir:
		return api.KindDirectory
	case fs.ModeSymlink:
		return api.KindSymlink
	case fs.ModeNamedPipe:
		return api.KindFIFO
	case fs.ModeSocket:
		return api.KindSocket
	}
	return api.KindDevice
}

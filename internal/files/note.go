package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// A note is a file of steps, each of four fields that a NUL ends: paths may hold
// anything else. The process whose change it is holds a lock on it. Notes are not
// synced: they outlive the process, not a loss of power. That a change is done is
// in the name of its note, since after a loss of power names are more likely than
// content to be what they were at one moment.

// note writes a step to the note. Without one, be it for a full disk, the change
// goes on all the same.
func (c *change) note(s step) {
	if c.notes == "" {
		return
	}
	if c.file == nil {
		if c.file = createNote(c.notes); c.file == nil {
			c.notes = ""
			return
		}
		c.path = c.file.Name()
	}
	if _, err := c.file.WriteString(strings.Join([]string{s.do, s.path, s.to, s.extra, ""}, "\x00")); err != nil {
		// Half of the steps would be worse than none.
		c.dropNote()
	}
}

func (c *change) dropNote() {
	os.Remove(c.path)
	c.file.Close()
	c.file, c.notes = nil, ""
}

// doneSuffix ends the name of the note of a change whose steps are all made.
const doneSuffix = ".done"

// markDone notes that only what is hidden has still to go.
func (c *change) markDone() {
	if c.file == nil {
		return
	}
	if os.Rename(c.path, c.path+doneSuffix) != nil {
		c.dropNote()
		return
	}
	c.path += doneSuffix
}

// createNote returns nil if it cannot. The name begins with the time, so that
// the newest change can be undone first.
func createNote(dir string) *os.File {
	for range 3 {
		path := filepath.Join(dir, fmt.Sprintf("%019d-%d", time.Now().UnixNano(), os.Getpid()))
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			os.Mkdir(dir, 0o700) // and no more, since a data directory that is gone has been removed
			continue
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil
		}
		if lockNote(file) {
			return file
		}
		file.Close()
	}
	return nil
}

// lockNote takes the lock of a note that is still there.
func lockNote(file *os.File) bool {
	if filelock.TryFile(file) != nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0
}

// Recover clears up after processes with the same notes that were killed: it
// undoes the writes, batches, uploads and moves that they had not finished, the
// newest first, and removes what they had hidden. It is to be called before the
// first operation, and leaves alone what processes that live are doing. What
// cannot be put back stays, with its note, and is part of the error.
//
// What has no note stays as it is. For the sake of speed a write of up to 256 KiB
// has none: its hidden file, and a new directory for it, are alone for the moment
// between two system calls. Nor has what is written into a file that cannot be
// replaced (see Write), and what was deleted or made by Mkdir. Notes that are lost,
// with a data directory or with power, undo nothing.
func (f *FS) Recover() error {
	if f.cfg.Notes == "" {
		return nil
	}
	entries, err := os.ReadDir(f.cfg.Notes)
	if missing(err) {
		return nil
	}
	errs := []error{err}
	var made []string
	for _, e := range slices.Backward(entries) {
		dirs, err := recoverNote(filepath.Join(f.cfg.Notes, e.Name()))
		made, errs = append(made, dirs...), append(errs, err)
	}
	// A directory that one change has made and another has used goes when both are
	// undone, in whichever order that was.
	slices.SortFunc(made, func(a, b string) int { return len(b) - len(a) })
	for _, dir := range made {
		syscall.Rmdir(dir) // unless something is in it
	}
	return errors.Join(errs...)
}

// recoverNote undoes or completes the change of a note. It returns the directories
// that a change which is undone had made.
func recoverNote(path string) (made []string, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !lockNote(file) { // another process is at work, or has recovered it
		return nil, file.Close()
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	c := &change{file: file, path: path}
	if err = c.readSteps(string(data)); err == nil {
		if strings.HasSuffix(path, doneSuffix) {
			err = c.clear()
		} else {
			err = c.takeBack()
			made = c.made()
		}
	}
	c.end(err)
	return made, err
}

// made returns the directories that a change has made, or was about to make.
func (c *change) made() (dirs []string) {
	for _, s := range c.steps {
		if s.do == doMake {
			dirs = append(dirs, s.path)
		}
	}
	return dirs
}

// readSteps reads the steps of a note, but for one that is incomplete and those
// in a root that is gone.
func (c *change) readSteps(note string) (err error) {
	fields := strings.Split(note, "\x00")
	for ; len(fields) > 4; fields = fields[4:] {
		s := step{fields[0], fields[1], fields[2], fields[3]}
		switch {
		case s.do == doRoot:
			c.root, err = os.OpenRoot(s.path)
			if err != nil && !missing(err) {
				return err
			}
		case c.root != nil || strings.HasPrefix(s.path, "/"):
			c.steps = append(c.steps, s)
		}
	}
	return nil
}

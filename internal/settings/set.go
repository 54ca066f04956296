package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// configDir holds the files of a configured directory.
const configDir = ".sandbox-agent/config"

// maxFile bounds a file of settings, in bytes.
const maxFile = 4 << 20

// Set is the named entries of one kind, stored in one file per directory. A
// directory is absolute, relative to the default one, or empty for the default
// one. Every write is atomic and excludes other writers, in this process and in
// others; a file that cannot be understood is never replaced.
type Set[T any] struct {
	s         *Settings
	noun      string // names the file and, before a colon, the entries
	decode    func(value, dialect) (T, error)
	decodeSet func(value) (map[string]T, error)
}

// Path returns the name of the file for dir, which need not exist.
func (c *Set[T]) Path(dir string) string {
	return filepath.Join(c.s.directory(dir), configDir, c.noun+".json")
}

// checkDirectory refuses what cannot be one.
func checkDirectory(dir string) error { return api.RefuseNUL(api.CodeInvalidPath, "directory", dir) }

// Get returns an entry, or a problem with [api.CodeConfigNotFound].
func (c *Set[T]) Get(dir, name string) (T, error) {
	var zero T
	all, err := c.All(dir)
	if err != nil {
		return zero, err
	}
	entry, ok := all[name]
	if !ok {
		id := c.noun + ":" + name
		missing := api.NewError(api.KindSessionNotFound, api.CodeConfigNotFound, "%s", id)
		missing.SessionID = id
		return zero, missing
	}
	return entry, nil
}

// All returns every entry of dir. It is never nil without an error.
func (c *Set[T]) All(dir string) (map[string]T, error) {
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	path := c.Path(dir)
	doc, err := load(path)
	if err != nil {
		return nil, err
	}
	entries, err := decodeMap(doc, c.decode)
	if err != nil {
		return nil, invalidFile(path, err)
	}
	return entries, nil
}

// Put stores the entry that body is. The other entries stay as they are, byte
// for byte but for white space.
func (c *Set[T]) Put(ctx context.Context, dir, name string, body []byte) error {
	doc, err := parse(body)
	if err != nil {
		return err
	}
	entry, err := c.decode(doc, strict)
	if err != nil {
		return err
	}
	raw, err := encode(entry)
	if err != nil {
		return err
	}
	return c.change(ctx, dir, true, func(entries map[string]json.RawMessage) bool {
		entries[name] = raw
		return true
	})
}

// Decode returns the whole set that body is, in any of the forms that clients
// send.
func (c *Set[T]) Decode(body []byte) (map[string]T, error) {
	doc, err := parse(body)
	if err != nil {
		return nil, err
	}
	return c.decodeSet(doc)
}

// Replace stores the set that body is, as [Set.Decode] reads it, in place of all
// entries of dir.
func (c *Set[T]) Replace(ctx context.Context, dir string, body []byte) error {
	set, err := c.Decode(body)
	if err != nil {
		return err
	}
	raws := make(map[string]json.RawMessage, len(set))
	for name, entry := range set {
		if raws[name], err = encode(entry); err != nil {
			return err
		}
	}
	return c.change(ctx, dir, true, func(entries map[string]json.RawMessage) bool {
		clear(entries)
		for name, raw := range raws {
			entries[name] = raw
		}
		return true
	})
}

// Delete removes an entry. When there is none it changes and creates nothing.
func (c *Set[T]) Delete(ctx context.Context, dir, name string) error {
	return c.change(ctx, dir, false, func(entries map[string]json.RawMessage) bool {
		_, ok := entries[name]
		delete(entries, name)
		return ok
	})
}

// Clear removes all entries of dir with their file, even one that cannot be
// understood.
func (c *Set[T]) Clear(ctx context.Context, dir string) error {
	if err := checkDirectory(dir); err != nil {
		return err
	}
	path := c.Path(dir)
	lock, err := filelock.AcquireDir(ctx, filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("lock", path, err)
	}
	defer lock.Release()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("remove", path, err)
	}
	return nil
}

// change runs edit on the entries under the lock and stores them if it says so.
func (c *Set[T]) change(ctx context.Context, dir string, create bool, edit func(map[string]json.RawMessage) bool) error {
	if err := checkDirectory(dir); err != nil {
		return err
	}
	path := c.Path(dir)
	if create {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return failed("create directory of", path, err)
		}
	}
	lock, err := filelock.AcquireDir(ctx, filepath.Dir(path))
	if !create && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("lock", path, err)
	}
	defer lock.Release()

	doc, err := load(path)
	if err != nil {
		return err
	}
	members, err := doc.members()
	if err != nil {
		return invalidFile(path, err)
	}
	entries := make(map[string]json.RawMessage, len(members)+1)
	for _, m := range members {
		if _, dup := entries[m.name]; dup {
			return invalidFile(path, m.fail("duplicate field `%s`", m.name))
		}
		entries[m.name] = m.raw()
	}
	if !edit(entries) {
		return nil
	}
	return store(path, entries)
}

// load reads and parses a file of entries; a missing file is an empty object.
func load(path string) (value, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for its writer
	if errors.Is(err, fs.ErrNotExist) {
		return parse([]byte("{}"))
	}
	if err != nil {
		return value{}, failed("read", path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return value{}, invalidFile(path, errors.New("it is not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return value{}, failed("read", path, err)
	}
	if len(data) > maxFile {
		return value{}, invalidFile(path, fmt.Errorf("larger than %d bytes", maxFile))
	}
	doc, err := parse(data)
	if err == nil && !doc.is('{') {
		err = doc.expected("an object")
	}
	if err != nil {
		return value{}, invalidFile(path, err)
	}
	return doc, nil
}

// store replaces a file of entries. The caller holds the lock of its directory.
func store(path string, entries map[string]json.RawMessage) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(entries); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if buf.Len() > maxFile {
		return api.TooLarge("config file", maxFile)
	}
	err := atomicfile.Clean(path)
	if err == nil {
		err = atomicfile.Write(path, buf.Bytes(), atomicfile.Options{KeepMode: true})
	}
	if err != nil {
		return failed("write", path, err)
	}
	return nil
}

// encode writes an entry as it is stored and answered.
func encode(entry any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(entry); err != nil {
		return nil, fmt.Errorf("encode config entry: %w", err)
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}

// invalidFile says which file is broken, where, and what to do about it.
func invalidFile(path string, err error) error {
	reason := err.Error()
	if problem, ok := errors.AsType[*api.Error](err); ok && problem.Unwrap() != nil {
		reason = problem.Unwrap().Error()
	}
	return api.InvalidRequest(api.CodeConfigInvalid,
		"invalid config file %s: %s; it was left as it is: correct it, or delete it to start without it", path, reason).
		With("path", path)
}

// failed is the problem of a file operation that the system refused.
func failed(verb, path string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s: %w", verb, path, err)
	}
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ELOOP) {
		return api.InvalidRequest(api.CodeInvalidPath, "%s %s: %w", verb, path, err)
	}
	code := api.CodeStorageFailed
	if errors.Is(err, fs.ErrPermission) {
		code = api.CodePermissionDenied
	}
	return api.StreamError(code, "%s %s: %w", verb, path, err)
}

package sandboxagent

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"

	"github.com/sandboxagent/sandboxagent/api"
)

// FS returns the tree below a directory of the sandbox as a read-only file system,
// for everything that takes one: fs.WalkDir, template.ParseFS, http.FileServerFS.
// Every operation is at least one request, bound to ctx. It implements
// [fs.StatFS], [fs.ReadDirFS] and [fs.ReadFileFS]. Links are followed, also out
// of the directory: it is not a boundary.
func (c *Client) FS(ctx context.Context, dir string) fs.FS {
	return remoteFS{ctx, c, dir}
}

type remoteFS struct {
	ctx context.Context
	c   *Client
	dir string
}

// at returns the path in the sandbox of a name.
func (f remoteFS) at(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return f.dir, nil
	}
	if f.dir == "" {
		return name, nil
	}
	return path.Join(f.dir, name), nil
}

// renamed gives an error the name that the caller knows.
func renamed(op, name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: op, Path: name, Err: p.Err}
	}
	return err
}

func (f remoteFS) Stat(name string) (fs.FileInfo, error) {
	full, err := f.at("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := f.c.Stat(f.ctx, full)
	if err != nil {
		return nil, renamed("stat", name, err)
	}
	known := info.(fileInfo)
	known.name = path.Base(name)
	return known, nil
}

func (f remoteFS) ReadDir(name string) ([]fs.DirEntry, error) {
	full, err := f.at("readdir", name)
	if err != nil {
		return nil, err
	}
	entries, err := f.c.ReadDir(f.ctx, full)
	return entries, renamed("readdir", name, err)
}

func (f remoteFS) ReadFile(name string) ([]byte, error) {
	full, err := f.at("readfile", name)
	if err != nil {
		return nil, err
	}
	data, err := f.c.ReadFile(f.ctx, full)
	return data, renamed("readfile", name, err)
}

func (f remoteFS) Open(name string) (fs.File, error) {
	full, err := f.at("open", name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat(name)
	if err != nil {
		return nil, renamed("open", name, err)
	}
	if info.IsDir() {
		return &remoteDir{fsys: f, name: name, info: info}, nil
	}
	return &remoteFile{fsys: f, name: name, full: full, info: info}, nil
}

// remoteFile is a file that is requested with the first read, and again with the
// first one after a Seek.
type remoteFile struct {
	fsys   remoteFS
	name   string
	full   string
	info   fs.FileInfo
	offset int64         // of the next byte to read
	body   io.ReadCloser // from there on; nil before a read
	closed bool
}

func (f *remoteFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *remoteFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrClosed}
	}
	if f.body == nil {
		body, err := f.request()
		if errors.Is(err, api.CodeRange) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, renamed("read", f.name, err)
		}
		f.body = body
	}
	n, err := f.body.Read(p)
	f.offset += int64(n)
	if err != nil && err != io.EOF {
		err = &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	return n, err
}

func (f *remoteFile) request() (io.ReadCloser, error) {
	if f.offset == 0 {
		return f.fsys.c.Open(f.fsys.ctx, f.full)
	}
	return f.fsys.c.OpenRange(f.fsys.ctx, f.full, f.offset, -1)
}

// Seek makes the file an [io.Seeker], as http.FileServerFS needs it. The end is
// where it was when the file was opened.
func (f *remoteFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.info.Size()
	default:
		offset = -1
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrInvalid}
	}
	if offset != f.offset && f.body != nil {
		f.body.Close()
		f.body = nil
	}
	f.offset = offset
	return offset, nil
}

func (f *remoteFile) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	if f.body == nil {
		return nil
	}
	return f.body.Close()
}

// remoteDir is a directory that is listed with the first ReadDir.
type remoteDir struct {
	fsys    remoteFS
	name    string
	info    fs.FileInfo
	listed  bool
	entries []fs.DirEntry
}

func (d *remoteDir) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *remoteDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

func (d *remoteDir) Close() error { return nil }

func (d *remoteDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.listed {
		entries, err := d.fsys.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.listed, d.entries = true, entries
	}
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	page := d.entries[:n:n]
	d.entries = d.entries[n:]
	return page, nil
}

package sandboxagent

import (
	"io/fs"
	"path"
	"strconv"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// fileInfo is what the server says of a file, as [fs.FileInfo].
type fileInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
	sys      any
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.modified }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return i.sys }

func (i fileInfo) String() string { return fs.FormatFileInfo(i) }

func entryInfo(e api.FileEntry) fileInfo {
	return fileInfo{name: e.Name, size: e.Size, mode: fileMode(e.EntryType, e.Kind, e.Mode), modified: fileTime(e.Modified), sys: e}
}

func statInfo(s api.FileStat) fileInfo {
	return fileInfo{name: path.Base(s.Path), size: s.Size, mode: fileMode(s.EntryType, s.Kind, s.Mode), modified: fileTime(s.Modified), sys: s}
}

// fileMode puts type and permissions together. An earlier server sends neither
// kind nor mode.
func fileMode(t api.EntryType, kind api.FileKind, octal string) fs.FileMode {
	perm, err := strconv.ParseUint(octal, 8, 32)
	if err != nil {
		perm = 0o644
		if t == api.EntryDirectory {
			perm = 0o755
		}
	}
	mode := fs.FileMode(perm).Perm()
	if t == api.EntryDirectory {
		return mode | fs.ModeDir
	}
	switch kind {
	case api.KindSymlink:
		mode |= fs.ModeSymlink
	case api.KindFIFO:
		mode |= fs.ModeNamedPipe
	case api.KindSocket:
		mode |= fs.ModeSocket
	case api.KindDevice:
		mode |= fs.ModeDevice
	}
	return mode
}

// fileTime reads a time; the zero time when there is none.
func fileTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

package files

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// Listing is a page of a directory. Next is the cursor of the page that
// follows, empty at the end.
type Listing struct {
	Entries []api.FileEntry
	Next    string
}

// Entries lists the directory path, sorted by name in byte order, links not
// followed. A limit of 0 gives all of it; cursor is a Next of an earlier page,
// and stays good while entries come and go.
func (f *FS) Entries(ctx context.Context, path, cursor string, limit int) (Listing, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return Listing{}, err
	}
	after, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return Listing{}, api.InvalidRequest(api.CodeInvalidPage, "invalid cursor: %s", cursor)
	}
	dir, err := openDir(path)
	if err != nil {
		return Listing{}, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return Listing{}, problem(err, path)
	}
	slices.Sort(names)
	if cursor != "" {
		i, found := slices.BinarySearch(names, string(after))
		if found {
			i++
		}
		names = names[i:]
	}
	var page Listing
	if limit > 0 && len(names) > limit {
		names = names[:limit]
		page.Next = base64.RawURLEncoding.EncodeToString([]byte(names[limit-1]))
	}
	page.Entries, err = statNames(ctx, dir, path, names)
	return page, err
}

// openDir opens path for reading its names. It does not block on a FIFO.
func openDir(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOTDIR) {
		if _, serr := os.Stat(path); serr == nil {
			return nil, api.InvalidRequest(api.CodeNotADirectory, "path is not a directory: %s", path).With("path", path)
		}
	}
	if err != nil {
		return nil, problem(err, path)
	}
	return dir, nil
}

func statNames(ctx context.Context, dir *os.File, path string, names []string) ([]api.FileEntry, error) {
	entries := make([]api.FileEntry, 0, len(names))
	fd := int(dir.Fd())
	var st unix.Stat_t
	for i, name := range names {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since its name was read
		}
		full := join(path, name)
		if err != nil {
			return nil, problem(err, full)
		}
		kind := kindOf(uint32(st.Mode))
		e := api.FileEntry{
			Name:      name,
			Path:      full,
			EntryType: entryType(kind),
			Size:      st.Size,
			Modified:  FormatTime(time.Unix(st.Mtim.Unix())),
			Kind:      kind,
			Mode:      formatMode(uint32(st.Mode)),
		}
		if kind == api.KindSymlink {
			target, _ := os.Readlink(full)
			e.Target = strings.ToValidUTF8(target, "\uFFFD")
		}
		if !utf8.ValidString(name) {
			e.RawName = url.QueryEscape(name)
			e.Name = strings.ToValidUTF8(name, "\uFFFD")
		}
		if !utf8.ValidString(full) {
			e.Path = strings.ToValidUTF8(full, "\uFFFD")
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Stat describes path, links followed.
func (f *FS) Stat(_ context.Context, path string) (api.FileStat, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return api.FileStat{}, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return api.FileStat{}, problem(err, path)
	}
	kind := kindOf(uint32(st.Mode))
	target, _ := os.Readlink(path)
	return api.FileStat{
		Path:      path,
		EntryType: entryType(kind),
		Size:      st.Size,
		Modified:  FormatTime(time.Unix(st.Mtim.Unix())),
		Kind:      kind,
		Mode:      formatMode(uint32(st.Mode)),
		Target:    target,
	}, nil
}

func kindOf(mode uint32) api.FileKind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return api.KindFile
	case unix.S_IFDIR:
		return api.KindDirectory
	case unix.S_IFLNK:
		return api.KindSymlink
	case unix.S_IFIFO:
		return api.KindFIFO
	case unix.S_IFSOCK:
		return api.KindSocket
	default:
		return api.KindDevice
	}
}

func entryType(kind api.FileKind) api.EntryType {
	if kind == api.KindDirectory {
		return api.EntryDirectory
	}
	return api.EntryFile
}

func formatMode(mode uint32) string {
	mode &= 0o7777
	if mode < 0o1000 {
		return string([]byte{'0', '0' + byte(mode>>6), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
	}
	return strconv.FormatUint(uint64(mode), 8)
}

// FormatTime prints t in UTC as the earlier server does: RFC 3339 with the
// offset +00:00 and a fraction of 0, 3, 6 or 9 digits, as many as t needs.
func FormatTime(t time.Time) string {
	var buf [40]byte
	b := t.UTC().AppendFormat(buf[:0], time.RFC3339) // which is quicker than other layouts
	b = b[:len(b)-len("Z")]
	digits, ns := 9, t.Nanosecond()
	for ; digits > 0 && ns%1000 == 0; digits -= 3 {
		ns /= 1000
	}
	if digits > 0 {
		b = append(b, '.')
		b = append(b, "000000000"[:digits]...)
		for i := len(b) - 1; ns > 0; i-- {
			b[i] += byte(ns % 10)
			ns /= 10
		}
	}
	return string(append(b, "+00:00"...))
}

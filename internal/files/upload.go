package files

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sandboxagent/sandboxagent/api"
)

// Upload unpacks the tar archive r, plain or packed with gzip or zstd, into the
// directory path, which is made if need be. All or nothing: the archive is
// unpacked into a hidden directory within path and merged into it by renames only
// when all of it was read and found good; what a failed merge replaced is put
// back, by [FS.Recover] if the process is killed. Files replace files; a file and
// a directory of one name are an error.
//
// Nothing is written outside the directory: names may not be absolute nor have "..",
// no entry goes through a symbolic link, hard links lead to files of the archive,
// and all operations go through an [os.Root]. A symbolic link may point anywhere,
// as that of a Python environment does; it is made, and never followed. Permission
// bits (no setuid) and times are kept, owners are not. FIFOs and devices are
// skipped, and named in the result. An empty body is an empty archive.
func (f *FS) Upload(ctx context.Context, path string, r io.Reader) (api.FileUploadResult, error) {
	path, err := f.Resolve(path)
	if err != nil {
		return api.FileUploadResult{}, err
	}
	c := f.change()
	res, err := f.upload(ctx, c, path, r)
	if err != nil {
		c.undo()
		return api.FileUploadResult{}, problem(err, path)
	}
	c.done()
	return res, nil
}

func (f *FS) upload(ctx context.Context, c *change, path string, r io.Reader) (res api.FileUploadResult, err error) {
	if err := c.makeDirs(path); err != nil {
		return res, err
	}
	if err := c.openRoot(path); err != nil {
		return res, err
	}
	stage := strings.TrimPrefix(tempName("", "upload"), "/")
	c.hide(stage)
	for _, dir := range []string{stage, join(stage, "new"), join(stage, "old")} {
		if err := c.root.Mkdir(dir, 0o700); err != nil {
			return res, err
		}
	}
	into, err := c.root.OpenRoot(join(stage, "new"))
	if err != nil {
		return res, err
	}
	defer into.Close()
	u := &unpacker{
		ctx: ctx, fs: f, root: into, base: path, dir: map[string]bool{"": true},
		res: api.FileUploadResult{Paths: []string{}},
	}
	if err := u.unpack(r); err != nil {
		return res, err
	}
	m := merger{ctx: ctx, change: c, fresh: join(stage, "new"), old: join(stage, "old")}
	if err := m.run(u.dirs); err != nil {
		return res, err
	}
	return u.res, nil
}

// unpack flow: body -> decompressor -> limit -> tar.
type unpacker struct {
	ctx  context.Context
	fs   *FS
	root *os.Root // the hidden directory
	base string   // path for answers

	res     api.FileUploadResult
	entries int
	size    int64           // of the files so far
	dir     map[string]bool // directories made in root
	dirs    []dirEntry
}

// dirEntry is a directory whose mode and time are set when it is complete.
type dirEntry struct {
	name string
	mode fs.FileMode
	mod  time.Time
}

func (u *unpacker) unpack(body io.Reader) error {
	packed := bufio.NewReaderSize(reader{u.ctx, newCapped(body, "maxUploadBytes", u.fs.cfg.MaxUploadBytes)}, 64<<10)
	plain, done, err := decompress(packed)
	if err != nil {
		return u.archiveError(err)
	}
	defer done()
	limited := newCapped(plain, "maxUploadBytes", u.fs.cfg.MaxUploadBytes)
	tr := tar.NewReader(limited)
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.archiveError(err)
		}
		if u.entries++; u.entries > u.fs.cfg.MaxUploadEntries {
			return api.TooLarge("maxUploadEntries", int64(u.fs.cfg.MaxUploadEntries))
		}
		if err := u.entry(hdr, tr); err != nil {
			return err
		}
	}
	// What follows the end of the archive is read as well: it has the checksum
	// of the packing, and a client that cannot send all of its body sees a
	// broken connection instead of the answer.
	if _, err := copyStream(u.ctx, io.Discard, limited); err != nil {
		return u.archiveError(err)
	}
	if _, err := copyStream(u.ctx, io.Discard, packed); err != nil {
		return u.archiveError(err)
	}
	return nil
}

// zstdWindow bounds the memory of unpacking; it is what the highest ordinary
// level of zstd asks for.
const zstdWindow = 32 << 20

// decompress looks at the first bytes of r for the packing, whatever the
// content type says. A body that is not an archive fails in tar.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return zr, func() { zr.Close() }, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return zr, zr.Close, nil
	}
	return r, func() {}, nil
}

// archiveError distinguishes a broken body, an exceeded limit and the end of the
// request from a broken archive. The error may be one of copyStream.
func (u *unpacker) archiveError(err error) error {
	if outer, ok := err.(readError); ok {
		err = outer.error
	}
	var made *api.Error
	var re readError
	if u.ctx.Err() != nil || errors.As(err, &made) || errors.As(err, &re) {
		return bodyError(err)
	}
	return api.StreamError(api.CodeInvalidArchive, "read archive: %w", err)
}

func unsafeEntry(format string, args ...any) error {
	return api.InvalidRequest(api.CodeUnsafeArchive, format, args...)
}

// entry unpacks one entry into the hidden directory.
func (u *unpacker) entry(hdr *tar.Header, body io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if strings.IndexByte(hdr.Name, 0) >= 0 {
		return invalidRelative(strings.ReplaceAll(hdr.Name, "\x00", "\uFFFD"))
	}
	name, err := cleanRelative(hdr.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return nil // the directory itself, "./"
	}
	if first, _, _ := strings.Cut(name, "/"); strings.HasPrefix(first, tempPrefix+"upload-") {
		return unsafeEntry("entry %s has the name of a directory in use", name)
	}
	if err := u.parents(name); err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		err = u.directory(name, hdr)
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.file(name, hdr, body)
	case tar.TypeSymlink:
		err = u.symlink(name, hdr.Linkname)
	case tar.TypeLink:
		err = u.hardLink(name, hdr.Linkname)
	default:
		u.skip(name, hdr)
		return nil
	}
	if err != nil {
		return problem(err, join(u.base, name))
	}
	if len(u.res.Paths) < maxPaths {
		u.res.Paths = append(u.res.Paths, join(u.base, name))
	} else {
		u.res.Truncated = true
	}
	return nil
}

// skip leaves an entry out, as an archive that this server makes does.
func (u *unpacker) skip(name string, hdr *tar.Header) {
	kind := "of an unknown type"
	switch hdr.Typeflag {
	case tar.TypeFifo:
		kind = "a FIFO"
	case tar.TypeChar, tar.TypeBlock:
		kind = "a device"
	}
	if len(u.res.Skipped) < maxPaths {
		u.res.Skipped = append(u.res.Skipped, api.FileSkipped{Path: join(u.base, name), Reason: "the entry is " + kind})
	} else {
		u.res.Truncated = true
	}
}

// parents makes the directories above name. One that exists as something else, a
// link above all, makes the archive unsafe.
func (u *unpacker) parents(name string) error {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return nil
	}
	up := name[:i]
	if u.dir[up] {
		return nil
	}
	if err := u.parents(up); err != nil {
		return err
	}
	if err := u.root.Mkdir(up, 0o777); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return unsafeEntry("entry %s goes through %s, which is not a directory of the archive", name, up)
		}
		return problem(err, join(u.base, up))
	}
	u.dir[up] = true
	return nil
}

func (u *unpacker) directory(name string, hdr *tar.Header) error {
	if !u.dir[name] {
		if err := u.root.Mkdir(name, 0o777); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return unsafeEntry("entry %s is a directory and something else", name)
			}
			return err
		}
		u.dir[name] = true
	}
	u.dirs = append(u.dirs, dirEntry{name, fs.FileMode(hdr.Mode) & 0o777, hdr.ModTime})
	return nil
}

// clear makes way for an entry: a later one of the same name wins, as in tar.
func (u *unpacker) clear(name string) error {
	if u.dir[name] {
		return unsafeEntry("entry %s is a directory and something else", name)
	}
	err := u.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u *unpacker) file(name string, hdr *tar.Header, body io.Reader) error {
	// The holes of a sparse file take no space in the archive, so the limit on
	// what is read does not bound them.
	if u.size += hdr.Size; hdr.Size > u.fs.cfg.MaxUploadBytes || u.size > u.fs.cfg.MaxUploadBytes {
		return api.TooLarge("maxUploadBytes", u.fs.cfg.MaxUploadBytes)
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err := u.clear(name); err != nil {
			return err
		}
		file, err = u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = copyStream(u.ctx, file, body)
	if _, ok := err.(readError); ok {
		file.Close()
		return u.archiveError(err)
	}
	err = errors.Join(err, file.Chmod(fs.FileMode(hdr.Mode)&0o777), file.Close())
	if err != nil {
		return err
	}
	return u.root.Chtimes(name, hdr.ModTime, hdr.ModTime)
}

func (u *unpacker) symlink(name, target string) error {
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return unsafeEntry("link %s has no target that a link can have", name)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Symlink(target, name)
}

// hardLink links to a file that the archive has brought before.
func (u *unpacker) hardLink(name, target string) error {
	from, err := cleanRelative(target)
	if err != nil {
		return unsafeEntry("hard link %s points out of the directory: %s", name, target)
	}
	if i := strings.LastIndexByte(from, '/'); i >= 0 && !u.dir[from[:i]] {
		return unsafeEntry("hard link %s to %s, which the archive does not have", name, target)
	}
	info, err := u.root.Lstat(from)
	if err != nil || !info.Mode().IsRegular() {
		return unsafeEntry("hard link %s to %s, which is not a file of the archive", name, target)
	}
	if from == name {
		return nil
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Link(from, name)
}

// merger moves the unpacked tree into the directory around it, as steps of its
// change.
type merger struct {
	*change
	ctx   context.Context
	fresh string // where the unpacked tree is
	old   string // where what it replaces goes
	kept  int
}

func (m *merger) run(dirs []dirEntry) error {
	created, err := m.merge("")
	if err != nil {
		return err
	}
	return m.dress(created, dirs)
}

// dress gives directories their modes and times, innermost first, so that one
// without write permission does not stop those within it. Directories that were
// there keep theirs.
func (m *merger) dress(created newNames, dirs []dirEntry) error {
	for _, d := range slices.Backward(dirs) {
		if !created.has(d.name) {
			continue
		}
		if err := m.root.Chmod(d.name, d.mode|0o700); err != nil {
			return err
		}
		if err := m.root.Chtimes(d.name, d.mod, d.mod); err != nil {
			return err
		}
	}
	for _, d := range slices.Backward(dirs) {
		if d.mode&0o700 != 0o700 && created.has(d.name) {
			m.root.Chmod(d.name, d.mode)
		}
	}
	return nil
}

// newNames are the topmost names that a merge has added.
type newNames map[string]bool

func (n newNames) has(name string) bool {
	for {
		if n[name] {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
}

// merge moves what is in the unpacked directory dir to the real one. Both exist.
func (m *merger) merge(dir string) (newNames, error) {
	created := newNames{}
	names, err := readNames(m.root, under(m.fresh, dir))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if m.ctx.Err() != nil {
			return nil, &BodyError{context.Cause(m.ctx)}
		}
		name = under(dir, name)
		below, err := m.mergeName(name)
		if err != nil {
			return nil, err
		}
		for n := range below {
			created[n] = true
		}
	}
	return created, nil
}

func (m *merger) mergeName(name string) (newNames, error) {
	from := under(m.fresh, name)
	src, err := m.root.Lstat(from)
	if err != nil {
		return nil, err
	}
	dst, err := m.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newNames{name: true}, m.move(from, name, src)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case src.IsDir() && dst.IsDir():
		return m.merge(name)
	case src.IsDir() && dst.Mode().Type() == fs.ModeSymlink:
		return nil, unsafeEntry("entry %s goes through a link", name)
	case src.IsDir():
		return nil, osProblem(api.CodeNotADirectory, syscall.ENOTDIR, name)
	case dst.IsDir():
		return nil, osProblem(api.CodeIsADirectory, syscall.EISDIR, name)
	}
	m.kept++
	return nil, m.replace(from, name, fmt.Sprintf("%s/%d", m.old, m.kept))
}

func readNames(root *os.Root, dir string) ([]string, error) {
	file, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}

func under(dir, name string) string {
	if dir == "" {
		return name
	}
	if name == "" {
		return dir
	}
	return dir + "/" + name
}

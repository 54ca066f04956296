package changes

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/ignore"
)

// Bounds of a tree.
const (
	maxEntries = 2_000_000
	maxDepth   = 512
	maxIgnore  = 1 << 20 // bytes of an ignore file; what is beyond is not read
)

// ScanOptions say how a tree is read.
type ScanOptions struct {
	// Known is an earlier tree of the same directory: what has its stamp is not
	// read again. Nil reads everything.
	Known *Tree

	// Kept names paths that are not ignored whatever ignore files say: those that
	// a repository tracks.
	Kept map[string]bool

	// Exclude is the content of an ignore file for the whole tree.
	Exclude []byte

	// Contents says whose contents go into the store; nil means those of all
	// entries.
	Contents func(Entry) bool

	// Progress, if not nil, is called now and then from the goroutine of Scan.
	Progress func(files int, bytes int64)
}

// scanner reads one tree into a store.
type scanner struct {
	ctx   context.Context
	opts  ScanOptions
	known map[string]Entry
	out   *bufio.Writer // of commands for git fast-import
	tree  *Tree
	done  counter
}

// counter reports progress, not more often than a person can read.
type counter struct {
	files  int
	bytes  int64
	last   time.Time
	report func(files int, bytes int64)
}

const reportEvery = 100 * time.Millisecond

func (c *counter) add(bytes int64) {
	c.files++
	c.bytes += bytes
	if c.report == nil || time.Since(c.last) < reportEvery {
		return
	}
	c.last = time.Now()
	c.report(c.files, c.bytes)
}

// scan reads the directory dir, whose path is name, and what is below it.
func (s *scanner) scan(dir *os.Root, name string, rules *ignore.Rules, ignored bool, depth int) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		s.skip(cmpDot(name), err)
		return nil
	}
	if slices.Contains(names, ".gitignore") && !ignored {
		if text, err := readSmall(dir, ".gitignore", maxIgnore); err == nil {
			rules = ignore.New(rules, name, text)
		}
	}
	for _, base := range names {
		if base == ".git" {
			continue
		}
		if len(s.tree.Entries) >= maxEntries {
			return api.InvalidRequest(api.CodeLimitExceeded, "the tree has more than %d files and directories", maxEntries)
		}
		if err := s.entry(dir, path.Join(name, base), rules, ignored, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(dir *os.Root, name string, rules *ignore.Rules, ignored bool, depth int) error {
	base := path.Base(name)
	info, err := dir.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed meanwhile
	}
	if err != nil {
		s.skip(name, err)
		return nil
	}
	if Disguised(base) {
		s.tree.Skipped = append(s.tree.Skipped, Skipped{name, "some systems take its name for .git"})
		return nil
	}
	ignored = (ignored || rules.Ignored(name, info.IsDir())) && !s.opts.Kept[name]
	e := Entry{Path: name, Mode: info.Mode() & (fs.ModeType | fs.ModePerm), Ignored: ignored}
	switch {
	case info.IsDir():
		return s.directory(dir, e, info, rules, depth)
	case info.Mode()&fs.ModeSymlink != 0:
		e.Mode = fs.ModeSymlink // the permission bits of a link mean nothing
		target, err := dir.Readlink(base)
		if err != nil {
			s.skip(name, err)
			return nil
		}
		e.Size = int64(len(target))
		e.Hash, err = s.store(e, strings.NewReader(target))
		s.tree.Entries = append(s.tree.Entries, e)
		return err
	case info.Mode().IsRegular():
		return s.file(dir, e, info)
	}
	s.tree.Skipped = append(s.tree.Skipped, Skipped{name, "it is a " + kindOf(info.Mode())})
	return nil
}

func (s *scanner) directory(dir *os.Root, e Entry, info fs.FileInfo, rules *ignore.Rules, depth int) error {
	if depth >= maxDepth {
		s.tree.Skipped = append(s.tree.Skipped, Skipped{e.Path, fmt.Sprintf("it is more than %d directories deep", maxDepth)})
		return nil
	}
	sub, err := openDir(dir, path.Base(e.Path), info)
	if err != nil {
		s.skip(e.Path, err)
		return nil
	}
	defer sub.Close()
	s.tree.Entries = append(s.tree.Entries, e)
	return s.scan(sub, e.Path, rules, e.Ignored, depth+1)
}

// tries is how often a file is read that changes while it is read.
const tries = 3

func (s *scanner) file(dir *os.Root, e Entry, info fs.FileInfo) error {
	e.Size = info.Size()
	if known, ok := s.known[e.Path]; ok && known.Stamp != (Stamp{}) && known.Stamp == stampOf(info) && known.Mode == e.Mode && known.Size == e.Size {
		e.Hash, e.Stamp = known.Hash, known.Stamp
		s.tree.Entries = append(s.tree.Entries, e)
		s.done.add(0)
		return nil
	}
	var err error
	for range tries {
		var whole bool
		e, whole, err = s.read(dir, e, info)
		if err != nil {
			break
		}
		if whole {
			s.tree.Entries = append(s.tree.Entries, e)
			s.done.add(e.Size)
			return nil
		}
	}
	if failed := new(storeError); errors.As(err, &failed) {
		return failed.err
	}
	if err == nil {
		err = errors.New("it changes all the time")
	}
	s.skip(e.Path, err)
	return nil
}

// tick is how much earlier than the clock a file system may say that a file changed.
const tick = 50 * time.Millisecond

// read stores the content of a file, and reports whether it is that of one moment.
func (s *scanner) read(dir *os.Root, e Entry, found fs.FileInfo) (_ Entry, whole bool, err error) {
	file, err := openFile(dir, path.Base(e.Path), found)
	if err != nil {
		return e, false, err
	}
	defer file.Close()
	began := time.Now()
	before, err := file.Stat()
	if err != nil {
		return e, false, err
	}
	e.Size = before.Size()
	if e.Hash, err = s.store(e, file); err != nil {
		return e, false, err
	}
	after, err := file.Stat()
	if err != nil {
		return e, false, err
	}
	stamp := stampOf(after)
	if stamp != stampOf(before) {
		return e, false, nil
	}
	e.Stamp = stamp
	if stamp.Changed > uint64(began.Add(-tick).UnixNano()) {
		e.Stamp = Stamp{}
	}
	return e, true, nil
}

// A storeError is one of the store, not of what is read into it.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }

// store hashes e.Size bytes, and hands them to git if the store is to have them.
// A reader that ends earlier is filled up with zeros.
func (s *scanner) store(e Entry, content io.Reader) (string, error) {
	hash := sha1.New()
	fmt.Fprintf(hash, "blob %d\x00", e.Size)
	var to io.Writer = hash
	if s.opts.Contents == nil || s.opts.Contents(e) {
		if _, err := fmt.Fprintf(s.out, "blob\ndata %d\n", e.Size); err != nil {
			return "", &storeError{err}
		}
		defer s.out.WriteByte('\n')
		to = io.MultiWriter(hash, &storeWriter{s.out})
	}
	source := &salvage{r: content}
	if _, err := io.CopyN(to, io.MultiReader(source, zeros{}), e.Size); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), source.err
}

// salvage ends where a read fails, and keeps the error.
type salvage struct {
	r   io.Reader
	err error
}

func (s *salvage) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err, err = err, io.EOF
	}
	return n, err
}

// storeWriter marks errors of the store.
type storeWriter struct{ w io.Writer }

func (w *storeWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		err = &storeError{err}
	}
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (s *scanner) skip(name string, err error) {
	if inner := new(fs.PathError); errors.As(err, &inner) {
		err = inner.Err
	}
	s.tree.Skipped = append(s.tree.Skipped, Skipped{name, err.Error()})
}

func cmpDot(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// readNames returns the names in a directory, sorted.
func readNames(dir *os.Root) ([]string, error) {
	file, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	names, err := file.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

var errReplaced = errors.New("it was replaced while it was read")

// openDir opens the directory that found describes, and no other that has taken its
// place.
func openDir(dir *os.Root, base string, found fs.FileInfo) (*os.Root, error) {
	sub, err := dir.OpenRoot(base)
	if err != nil {
		return nil, err
	}
	info, err := sub.Stat(".")
	if err == nil && !os.SameFile(info, found) {
		err = errReplaced
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// openFile opens the regular file that found describes, and no other.
func openFile(dir *os.Root, base string, found fs.FileInfo) (*os.File, error) {
	file, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !os.SameFile(info, found) {
		err = errReplaced
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// readSmall returns the content of a regular file, at most max bytes of it.
func readSmall(dir *os.Root, base string, max int64) ([]byte, error) {
	info, err := dir.Lstat(base)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", base)
	}
	file, err := openFile(dir, base, info)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, max))
}

var shortName = regexp.MustCompile(`^git~[0-9]+$`)

// Disguised reports whether some file system takes a name that is not .git for it:
// those that ignore case, those that leave out characters without width, and those
// that drop dots, blanks, and stream names, or have short names ([CVE-2014-9390],
// [CVE-2019-1352]).
//
// [CVE-2014-9390]: https://nvd.nist.gov/vuln/detail/CVE-2014-9390
// [CVE-2019-1352]: https://nvd.nist.gov/vuln/detail/CVE-2019-1352
func Disguised(name string) bool {
	if name == ".git" {
		return false
	}
	seen := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	seen, _, _ = strings.Cut(seen, ":")
	seen, _, _ = strings.Cut(seen, `\`)
	seen = strings.TrimRight(seen, ". ")
	return seen == ".git" || shortName.MatchString(seen)
}

// Package files does the work of the filesystem API: list, read, write, move,
// delete, archives, batches, watching and searching. It reaches whatever the
// process may reach, without bounds, except that an archive cannot leave the
// directory it is unpacked in. It knows nothing of HTTP.
//
// Every error a caller can act on is an [api.Error]: a path that does not exist
// is a 400 problem, any other error of the operating system a 502 problem with
// the text the earlier server has for it, and both carry a code.
package files

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/sandboxagent/sandboxagent/api"
)

// Defaults of [Config].
const (
	DefaultMaxFileBytes     = 1 << 30
	DefaultMaxUploadBytes   = 4 << 30
	DefaultMaxUploadEntries = 200_000
	DefaultMaxBatchFiles    = 1000
	DefaultMaxWatches       = 8192
	DefaultMaxMatches       = 10_000
)

// Config configures an [FS]. A zero limit means its default.
type Config struct {
	Home             string // base of relative paths; absolute; zero means the root directory
	TempDir          string // for bodies that cannot be staged next to their target; zero means the system's
	Notes            string // directory for notes of what is under way, see [FS.Recover]; zero means that none are kept
	MaxFileBytes     int64  // of one written file
	MaxUploadBytes   int64  // of one archive, unpacked
	MaxUploadEntries int    // of one archive
	MaxBatchFiles    int    // of one batch
	MaxWatches       int    // directories that one watch may hold
	MaxMatches       int    // of one search
}

// FS does file operations. It has no state but its configuration and may be
// used by many goroutines.
type FS struct {
	cfg Config
}

// New returns an FS.
func New(cfg Config) *FS {
	setDefault(&cfg.MaxFileBytes, DefaultMaxFileBytes)
	setDefault(&cfg.MaxUploadBytes, DefaultMaxUploadBytes)
	setDefault(&cfg.MaxUploadEntries, DefaultMaxUploadEntries)
	setDefault(&cfg.MaxBatchFiles, DefaultMaxBatchFiles)
	setDefault(&cfg.MaxWatches, DefaultMaxWatches)
	setDefault(&cfg.MaxMatches, DefaultMaxMatches)
	setDefault(&cfg.TempDir, os.TempDir())
	setDefault(&cfg.Home, "/")
	return &FS{cfg: cfg}
}

// Config returns the configuration with its defaults filled in.
func (f *FS) Config() Config { return f.cfg }

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// bufferSize is what one copy reads at a time, and all the memory it takes.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// copyStream copies src to dst until EOF, the end of ctx or an error, with one
// pooled buffer.
func copyStream(ctx context.Context, dst io.Writer, src io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// The struct hides ReaderFrom and WriterTo, which would bring buffers of
	// their own.
	return io.CopyBuffer(struct{ io.Writer }{dst}, reader{ctx, src}, *buf)
}

// readError is an error of the source of a copy, as against its destination.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// reader reads until ctx ends and marks the errors of its source.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, readError{context.Cause(r.ctx)}
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = readError{err}
	}
	return n, err
}

// capped reads at most max bytes of r and gives a 413 problem for more.
type capped struct {
	r     io.Reader
	left  int64
	limit string
	max   int64
}

func newCapped(r io.Reader, limit string, max int64) *capped {
	return &capped{r: r, left: max, limit: limit, max: max}
}

func (c *capped) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than allowed separates a body of exactly the limit from a
	// longer one.
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return 0, api.TooLarge(c.limit, c.max)
	}
	return n, err
}

// bodyError turns an error of reading a caller's body into what the caller
// gets: problems as they are, the rest wrapped.
func bodyError(err error) error {
	var problem *api.Error
	if errors.As(err, &problem) {
		return problem
	}
	var re readError
	if errors.As(err, &re) {
		err = re.error
	}
	return &BodyError{err}
}

// BodyError says that the source of a write or an upload failed, most often
// because the client went away. Nothing was changed.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return "read body: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

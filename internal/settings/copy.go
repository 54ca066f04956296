package settings

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
)

// copyDepth bounds directories within directories, which symbolic links can nest for ever.
const copyDepth = 16

// copyBudget is what one skill may hold.
type copyBudget struct {
	files int
	bytes int64
}

// copier copies a directory out of a source. Symbolic links are followed within the
// source, so that the copy stands alone; a link that leaves the source is an
// error.
type copier struct {
	ctx    context.Context
	root   *os.Root
	budget copyBudget
	sum    hash.Hash
}

// copy copies the directory from, relative to the root, to a new directory and returns
// the digest of its content. With an empty to it only computes the digest.
func (c *copier) copy(from, to string) (digest string, err error) {
	c.sum = sha256.New()
	if err := c.directory(from, to, "", 0); err != nil {
		return "", err
	}
	return hex.EncodeToString(c.sum.Sum(nil)), nil
}

func digestOf(dir string, budget copyBudget) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	c := copier{ctx: context.Background(), root: root, budget: budget}
	return c.copy(".", "")
}

func (c *copier) directory(from, to, name string, depth int) error {
	if depth > copyDepth {
		return api.InvalidRequest(api.CodeLimitExceeded, "directories are nested more than %d deep at %s", copyDepth, name)
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(c.root.FS(), from) // sorted by name
	if err != nil {
		return err
	}
	if to != "" {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	}
	for _, entry := range entries {
		base := entry.Name()
		if base == ".git" || depth == 0 && base == markerFile {
			continue
		}
		inner := path.Join(name, base)
		if c.budget.files--; c.budget.files < 0 {
			return api.InvalidRequest(api.CodeLimitExceeded, "too many files, stopped at %s", inner)
		}
		info, err := c.root.Stat(path.Join(from, base))
		if err != nil {
			return fmt.Errorf("%s: %w", inner, err)
		}
		target := to
		if to != "" {
			target = filepath.Join(to, base)
		}
		switch {
		case info.IsDir():
			err = c.directory(path.Join(from, base), target, inner, depth+1)
		case info.Mode().IsRegular():
			err = c.file(path.Join(from, base), target, inner, info)
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", inner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) file(from, to, name string, info fs.FileInfo) (err error) {
	if info.Size() > c.budget.bytes {
		return api.InvalidRequest(api.CodeLimitExceeded, "too much data, stopped at %s", name)
	}
	src, err := c.root.Open(from)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer src.Close()
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	fmt.Fprintf(c.sum, "%q %o %d\n", name, mode, info.Size())
	out := io.Writer(c.sum)
	if to != "" {
		dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dst.Close()) }()
		out = io.MultiWriter(dst, c.sum)
	}
	n, err := io.CopyN(out, src, info.Size())
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s shrank while it was read", name)
	}
	c.budget.bytes -= n
	return err
}

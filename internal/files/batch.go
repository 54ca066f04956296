package files

import (
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// maxPaths is how many paths the answer of an upload names.
const maxPaths = 1024

// Batch writes files as [FS.Write] does, all or none: every item is checked
// before the first is staged, all are staged before the first takes its place,
// and when one cannot take its place those before it are put back. Only a file
// that cannot be replaced (see Write) is not put back.
func (f *FS) Batch(ctx context.Context, req api.FileBatchRequest) (api.FileBatchResult, error) {
	items, err := f.checkBatch(req)
	if err != nil {
		return api.FileBatchResult{}, err
	}
	var all []*staged
	discard := func() {
		for i := len(all) - 1; i >= 0; i-- {
			all[i].discard()
		}
	}
	for _, it := range items {
		s, err := f.stage(ctx, it.path, strings.NewReader(it.content), WriteOptions{Mode: it.mode})
		if err != nil {
			discard()
			return api.FileBatchResult{}, err
		}
		all = append(all, s)
	}
	var undo []func()
	for _, s := range all {
		back, err := s.commitUndo(ctx)
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
			discard()
			return api.FileBatchResult{}, problem(err, s.path)
		}
		undo = append(undo, back)
	}
	res := api.FileBatchResult{Paths: []string{}, Files: []api.FileWriteResult{}}
	for _, s := range all {
		os.Remove(s.aside())
		res.Files = append(res.Files, api.FileWriteResult{Path: s.path, BytesWritten: s.size})
		if len(res.Paths) < maxPaths {
			res.Paths = append(res.Paths, s.path)
		}
	}
	res.Truncated = len(res.Files) > len(res.Paths)
	return res, nil
}

type batchItem struct {
	path    string
	content string
	mode    *fs.FileMode
}

func (f *FS) checkBatch(req api.FileBatchRequest) ([]batchItem, error) {
	if len(req.Files) > f.cfg.MaxBatchFiles {
		return nil, api.TooLarge("maxBatchFiles", int64(f.cfg.MaxBatchFiles))
	}
	items := make([]batchItem, 0, len(req.Files))
	seen := make(map[string]bool, len(req.Files))
	for i, file := range req.Files {
		it, err := f.checkItem(file)
		if err != nil {
			return nil, err
		}
		if seen[it.path] {
			return nil, api.InvalidRequest(api.CodeInvalidPath, "files[%d]: path given twice: %s", i, it.path)
		}
		seen[it.path] = true
		items = append(items, it)
	}
	return items, nil
}

func (f *FS) checkItem(file api.FileBatchItem) (it batchItem, err error) {
	if file.Path == "" {
		return it, api.InvalidRequest(api.CodeInvalidPath, "file without a path")
	}
	if it.path, err = f.Resolve(file.Path); err != nil {
		return it, err
	}
	if it.mode, err = ParseMode(file.Mode); err != nil {
		return it, err
	}
	switch file.Encoding {
	case "", "utf8", "utf-8", "text":
		it.content = file.Content
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(file.Content)
		if err != nil {
			return it, api.InvalidRequest(api.CodeInvalidEncoding, "content of %s: %w", file.Path, err)
		}
		it.content = string(raw)
	default:
		return it, api.InvalidRequest(api.CodeInvalidEncoding, "unknown encoding %s of %s (want utf8 or base64)", file.Encoding, file.Path)
	}
	if int64(len(it.content)) > f.cfg.MaxFileBytes {
		return it, api.TooLarge("maxFileBytes", f.cfg.MaxFileBytes)
	}
	return it, nil
}

// aside is where commitUndo keeps what was there before.
func (s *staged) aside() string { return s.temp + "-old" }

// commitUndo commits s and returns what takes that back. The caller removes
// aside when nothing is to be taken back any more.
func (s *staged) commitUndo(ctx context.Context) (undo func(), err error) {
	keep := s.old != nil && !s.direct
	if keep {
		// A second name for the old content leaves the path in place; not every
		// filesystem and not every file allows one.
		if os.Link(s.dest, s.aside()) != nil {
			if err := os.Rename(s.dest, s.aside()); err != nil {
				return nil, fmt.Errorf("keep old file: %w", err)
			}
		}
	}
	if err := s.commit(ctx); err != nil {
		if keep {
			os.Rename(s.aside(), s.dest)
		}
		return nil, err
	}
	return func() {
		switch {
		case keep:
			os.Rename(s.aside(), s.dest)
		case s.old == nil:
			os.Remove(s.dest)
		}
	}, nil
}

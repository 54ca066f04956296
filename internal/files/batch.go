package files

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// maxPaths is how many paths the answer of an upload names.
const maxPaths = 1024

// Batch writes files as [FS.Write] does, all or none: every item is checked
// before the first is staged, all are staged before the first takes its place,
// and when one cannot take its place those before it are put back, by
// [FS.Recover] if the process is killed. Only a file that cannot be replaced (see
// Write) is not put back.
func (f *FS) Batch(ctx context.Context, req api.FileBatchRequest) (api.FileBatchResult, error) {
	items, err := f.checkBatch(req)
	if err != nil {
		return api.FileBatchResult{}, err
	}
	c := f.change()
	all, err := f.writeAll(ctx, c, items)
	if err != nil {
		c.undo()
		return api.FileBatchResult{}, err
	}
	c.done()
	res := api.FileBatchResult{Paths: []string{}, Files: []api.FileWriteResult{}}
	for _, s := range all {
		res.Files = append(res.Files, api.FileWriteResult{Path: s.path, BytesWritten: s.size})
		if len(res.Paths) < maxPaths {
			res.Paths = append(res.Paths, s.path)
		}
	}
	res.Truncated = len(res.Files) > len(res.Paths)
	return res, nil
}

func (f *FS) writeAll(ctx context.Context, c *change, items []batchItem) (all []*staged, err error) {
	for _, it := range items {
		s := &staged{path: it.path, opts: WriteOptions{Mode: it.mode}, change: c}
		if err := s.stage(ctx, f, strings.NewReader(it.content)); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	for _, s := range all {
		if err := s.commitKeeping(ctx); err != nil {
			return nil, problem(err, s.path)
		}
	}
	return all, nil
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

// commitKeeping commits s as a step of its change. What can neither be replaced
// nor read is not kept.
func (s *staged) commitKeeping(ctx context.Context) error {
	if s.direct {
		return s.fillKeeping(ctx)
	}
	if s.old == nil {
		info, err := os.Lstat(s.temp)
		if err == nil {
			err = s.change.move(s.temp, s.dest, info)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Another program made it meanwhile.
	}
	aside := s.temp + asideSuffix
	s.change.hide(aside)
	err := s.change.replace(s.temp, s.dest, aside)
	if s.old != nil && irreplaceable(err) {
		return s.copyIn(ctx)
	}
	return err
}

// fillKeeping is commitKeeping for a file that cannot be replaced.
func (s *staged) fillKeeping(ctx context.Context) error {
	aside := s.temp + asideSuffix
	s.change.hide(aside)
	if copyContent(machine{}, s.path, aside, os.O_CREATE|os.O_EXCL) == nil {
		s.change.add(step{doFill, s.temp, s.path, aside})
	}
	return s.copyIn(ctx)
}

package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/ignore"
)

const (
	defaultMatches = 1000
	maxMatchText   = 1 << 10 // bytes of a line in a match
)

// errEnough ends a search at its limit.
var errEnough = errors.New("enough matches")

// Search walks the tree at req.Path, directories in order of name, and calls yield
// for every match until one fails, which ends the search with that error.
// Links are not followed. Binary files are not searched for content, and of a
// file that the kernel generates no more than [maxGenerated] bytes, as far as
// they come within [generatedWait]. Directories that cannot be read are passed
// over. Memory grows neither with the tree nor with the length of a line.
func (f *FS) Search(ctx context.Context, req api.FileSearchRequest, yield func(api.FileSearchMatch) error) (api.FileSearchSummary, error) {
	s, err := f.newSearch(req)
	if err != nil {
		return api.FileSearchSummary{}, err
	}
	s.ctx, s.yield = ctx, yield
	info, err := os.Stat(s.base)
	if err != nil {
		return api.FileSearchSummary{}, problem(err, s.base)
	}
	if !info.IsDir() {
		return api.FileSearchSummary{}, api.InvalidRequest(api.CodeNotADirectory, "path is not a directory: %s", s.base).With("path", s.base)
	}
	var ig *ignore.Rules
	if !req.NoIgnore {
		ig = ignoreAbove(s.base)
	}
	err = s.directory(s.base, ig)
	if errors.Is(err, errEnough) {
		s.sum.Truncated = true
		err = nil
	}
	return s.sum, err
}

type search struct {
	ctx   context.Context
	req   api.FileSearchRequest
	base  string
	yield func(api.FileSearchMatch) error
	sum   api.FileSearchSummary
	limit int

	name   func(name, rel string) bool
	needle []byte         // plain content
	re     *regexp.Regexp // or this
}

func (f *FS) newSearch(req api.FileSearchRequest) (*search, error) {
	base, err := f.Resolve(req.Path)
	if err != nil {
		return nil, err
	}
	s := &search{req: req, base: trimSlash(base), limit: req.Limit}
	if s.limit <= 0 {
		s.limit = defaultMatches
	}
	s.limit = min(s.limit, f.cfg.MaxMatches)
	if req.Name == "" && req.Content == "" {
		return nil, api.InvalidRequest(api.CodeInvalidPattern, "neither name nor content to search for")
	}
	if s.name, err = nameMatcher(req.Name, req.IgnoreCase); err != nil {
		return nil, err
	}
	switch {
	case req.Content == "":
	case req.Regex || req.IgnoreCase:
		expr := req.Content
		if !req.Regex {
			expr = regexp.QuoteMeta(expr)
		}
		if req.IgnoreCase {
			expr = "(?i)" + expr
		}
		if s.re, err = regexp.Compile(expr); err != nil {
			return nil, api.InvalidRequest(api.CodeInvalidPattern, "content is not a regular expression: %w", err)
		}
	case strings.Contains(req.Content, "\n"):
		return nil, api.InvalidRequest(api.CodeInvalidPattern, "content is searched within lines and cannot have a line break")
	default:
		s.needle = []byte(req.Content)
	}
	return s, nil
}

// nameMatcher returns whether an entry with that name and path below the start
// is asked for.
func nameMatcher(pattern string, fold bool) (func(name, rel string) bool, error) {
	if fold {
		pattern = strings.ToLower(pattern)
	}
	lower := func(s string) string {
		if fold {
			return strings.ToLower(s)
		}
		return s
	}
	if !strings.ContainsAny(pattern, "*?[{") {
		return func(name, _ string) bool { return strings.Contains(lower(name), pattern) }, nil
	}
	if !doublestar.ValidatePattern(pattern) {
		return nil, api.InvalidRequest(api.CodeInvalidPattern, "name is not a glob: %s", pattern)
	}
	if strings.Contains(pattern, "/") {
		pattern = strings.TrimPrefix(pattern, "/")
		return func(_, rel string) bool { return doublestar.MatchUnvalidated(pattern, lower(rel)) }, nil
	}
	return func(name, _ string) bool { return doublestar.MatchUnvalidated(pattern, lower(name)) }, nil
}

func (s *search) directory(dir string, ig *ignore.Rules) error {
	entries, err := os.ReadDir(dir)
	if err != nil && len(entries) == 0 {
		return nil
	}
	if !s.req.NoIgnore {
		ig = readIgnore(ig, dir, func(name string) bool {
			for _, e := range entries {
				if e.Name() == name {
					return true
				}
			}
			return false
		})
	}
	for _, e := range entries {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		name := e.Name()
		path := join(dir, name)
		if !s.req.Hidden && name[0] == '.' || !s.req.NoIgnore && name == ".git" || ig.Ignored(path, e.IsDir()) {
			continue
		}
		s.sum.Entries++
		if err := s.entry(path, name, e); err != nil {
			return err
		}
		if e.IsDir() {
			if err := s.directory(path, ig); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *search) entry(path, name string, e fs.DirEntry) error {
	rel := strings.TrimPrefix(path[len(s.base):], "/")
	if !s.name(name, rel) {
		return nil
	}
	if s.req.Content == "" {
		m := api.FileSearchMatch{Path: strings.ToValidUTF8(path, "\uFFFD"), EntryType: api.EntryFile}
		if e.IsDir() {
			m.EntryType = api.EntryDirectory
		}
		return s.emit(m)
	}
	if !e.Type().IsRegular() {
		return nil
	}
	return s.file(path)
}

func (s *search) emit(m api.FileSearchMatch) error {
	if s.sum.Matches == s.limit {
		return errEnough
	}
	s.sum.Matches++
	return s.yield(m)
}

// readHead reads at most max bytes of a regular file.
func readHead(path string, max int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, syscall.EINVAL)
	}
	return io.ReadAll(io.LimitReader(file, max))
}

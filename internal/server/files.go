package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/files"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

// nextCursor is the header with the cursor of the page after a listing, whose
// body is a bare array.
const nextCursor = "X-Next-Cursor"

// fileHandlers answers the routes of the filesystem.
type fileHandlers struct {
	s  *Server
	fs *files.FS
}

// fileRoutes are the routes of the filesystem.
func (s *Server) fileRoutes(fsys *files.FS) {
	h := fileHandlers{s, fsys}
	home := fileParam("path", "string", "Absolute, or relative to the home directory, which is also the default")
	at := fileParam("path", "string", "Absolute, or relative to the home directory")
	at.Required, at.Schema.MinLength = true, one
	add := func(id, method, route, summary string, do httpkit.HandlerFunc, answers *huma.Response, params ...*huma.Param) huma.Operation {
		o := op(id, method, route, "files", summary)
		o.Parameters = params
		o.Responses = map[string]*huma.Response{"200": answers}
		s.handle(o, func(w http.ResponseWriter, r *http.Request) error { return bodyProblem(do(w, r)) })
		return o
	}
	add("listEntries", http.MethodGet, "/v1/fs/entries", "Entries of a directory, sorted by name; links are not followed", h.list,
		s.jsonResponse("OK", typeOf[[]api.FileEntry]()), home, fileParam("limit", "integer", "Most entries of a page; all when absent"), fileParam("cursor", "string", "The "+nextCursor+" header of the page before"))
	add("readFile", http.MethodGet, "/v1/fs/file", "Content of a file; Range, If-None-Match and If-Range are honoured", h.read,
		bytesAnswer("Content"), at)
	add("writeFile", http.MethodPut, "/v1/fs/file", "Replace the content of a file in one step, from the raw body", h.write,
		s.jsonResponse("OK", typeOf[api.FileWriteResult]()), at, fileParam("mode", "string", "Permission bits in octal; kept when absent"), fileParam("append", "boolean", "Add to the end instead"))
	add("deleteEntry", http.MethodDelete, "/v1/fs/entry", "Remove a file, a link or a directory", h.remove,
		s.jsonResponse("OK", typeOf[api.FilePath]()), at, fileParam("recursive", "boolean", "Also remove what is in the directory"))
	add("makeDirectory", http.MethodPost, "/v1/fs/mkdir", "Make a directory and those above it; the path is in the query or in a JSON body", h.mkdir,
		s.jsonResponse("OK", typeOf[api.FilePath]()), home)
	add("statFile", http.MethodGet, "/v1/fs/stat", "What is at a path, links followed", h.stat,
		s.jsonResponse("OK", typeOf[api.FileStat]()), at)
	add("uploadFiles", http.MethodPost, "/v1/fs/upload-batch", "Unpack a tar archive, plain, gzip or zstd, all or nothing", h.upload,
		s.jsonResponse("OK", typeOf[api.FileUploadResult]()), home)
	add("downloadArchive", http.MethodGet, "/v1/fs/archive", "A directory or a file as a tar archive", h.archive,
		archiveAnswer(), home, choice("compression", "none when absent or empty", "", "gzip", "zstd"))
	add("watchFiles", http.MethodGet, "/v1/fs/watch", "Changes below a path as server-sent events named change", h.watch,
		&huma.Response{Description: "Events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: s.schema(typeOf[api.FileWatchEvent]())}}},
		home, fileParam("recursive", "boolean", "Also watch the directories below; true when absent"))
	add("searchFiles", http.MethodGet, "/v1/fs/search", "Find files by name and content; with Accept text/event-stream each match is an event, and done is the last", h.search,
		s.jsonResponse("OK", typeOf[api.FileSearchResult]()), home,
		fileParam("name", "string", "Glob, or part of the name"), fileParam("content", "string", "Text within a line"),
		fileParam("regex", "boolean", "content is a regular expression"), fileParam("ignoreCase", "boolean", ""),
		fileParam("hidden", "boolean", "Also search hidden files and directories"), fileParam("noIgnore", "boolean", "Do not honour ignore files"),
		fileParam("limit", "integer", "Most matches"))

	route(s, op("moveFile", http.MethodPost, "/v1/fs/move", "files", "Move a file or a directory"), h.move)
	batch := op("writeFiles", http.MethodPost, "/v1/fs/batch", "files", "Write several files, all or none")
	httpkit.LimitBody(&batch, "maxUploadBytes", s.limits.MaxUploadBytes)
	route(s, batch, h.batch)
}

func fileParam(name, typ, description string) *huma.Param {
	return query(name, typ, description)
}

func bytesAnswer(description string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
	}}
}

// archiveAnswer is an archive in one of its packings.
func archiveAnswer() *huma.Response {
	content := make(map[string]*huma.MediaType)
	for _, media := range []string{"application/x-tar", "application/gzip", "application/zstd"} {
		content[media] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	return &huma.Response{Description: "Archive", Content: content}
}

// bodyProblem says that the body of a request broke off, which is not a fault of
// the server.
func bodyProblem(err error) error {
	var broken *files.BodyError
	if errors.As(err, &broken) {
		return api.InvalidRequest("", "%w", broken)
	}
	return err
}

// fileQuery reads a query and keeps the first thing wrong with it.
type fileQuery struct {
	url.Values
	err error
}

func readFileQuery(r *http.Request) *fileQuery { return &fileQuery{Values: r.URL.Query()} }

// must returns a value that has to be there; it may be empty.
func (q *fileQuery) must(name string) string {
	if !q.Has(name) && q.err == nil {
		q.err = api.InvalidRequest(api.CodeInvalidQuery, "missing field `%s`", name)
	}
	return q.Get(name)
}

func (q *fileQuery) flag(name string, absent bool) bool {
	if !q.Has(name) {
		return absent
	}
	switch q.Get(name) {
	case "true":
		return true
	case "false":
	default:
		if q.err == nil {
			q.err = api.InvalidRequest(api.CodeInvalidQuery, "%s: provided string was not `true` or `false`", name)
		}
	}
	return false
}

func (q *fileQuery) number(name string) int {
	if !q.Has(name) {
		return 0
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 31)
	if err != nil && q.err == nil {
		q.err = api.InvalidRequest(api.CodeInvalidQuery, "%s: invalid digit found in string", name)
	}
	return int(n)
}

func (h fileHandlers) list(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	limit := q.number("limit")
	if q.err != nil {
		return q.err
	}
	page, err := h.fs.Entries(r.Context(), q.Get("path"), q.Get("cursor"), limit)
	if err != nil {
		return err
	}
	if page.Next != "" {
		w.Header().Set(nextCursor, page.Next)
	}
	return httpkit.ReplyJSON(w, http.StatusOK, encodeEntries(page.Entries))
}

// entryRest is more than an entry mostly has besides its name and path.
const entryRest = 160

func encodeEntries(entries []api.FileEntry) []byte {
	size := len("[]")
	for i := range entries {
		size += len(entries[i].Name) + len(entries[i].Path) + entryRest
	}
	b := append(make([]byte, 0, size), '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = entries[i].AppendJSON(b)
	}
	return append(b, ']')
}

func (h fileHandlers) stat(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	path := q.must("path")
	if q.err != nil {
		return q.err
	}
	st, err := h.fs.Stat(r.Context(), path)
	return httpkit.Reply(w, http.StatusOK, st, err)
}

func (h fileHandlers) read(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	path := q.must("path")
	if q.err != nil {
		return q.err
	}
	file, err := h.fs.Open(r.Context(), path)
	if err != nil {
		return err
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if file.Size < 0 {
		if r.Method != http.MethodHead {
			// An error here can only be reported by breaking off the response.
			if _, err := io.Copy(w, file.File); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		return nil
	}
	w.Header().Set("ETag", file.ETag)
	answer := &contentWriter{ResponseWriter: w}
	http.ServeContent(sendfileWriter(answer), r, "", file.Modified, file.File)
	switch answer.refused {
	case 0:
		return nil
	case http.StatusPreconditionFailed:
		return api.NewError(api.KindPreconditionFailed, api.CodePrecondition, "%s is another version", file.Path).With("path", file.Path)
	case http.StatusRequestedRangeNotSatisfiable:
		return api.NewError(api.KindRangeNotSatisfiable, api.CodeRange, "%s has %d bytes", file.Path, file.Size).With("path", file.Path).With("size", file.Size)
	}
	return fmt.Errorf("serve %s: status %d", file.Path, answer.refused)
}

// contentWriter keeps the refusals of [http.ServeContent] back, which are not
// problem documents.
type contentWriter struct {
	http.ResponseWriter
	refused int // the status
}

func (w *contentWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *contentWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

func (w *contentWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sendfileWriter gives w the ReadFrom of the writer it wraps, by which the
// kernel copies a file to the socket.
func sendfileWriter(w http.ResponseWriter) http.ResponseWriter {
	inner := w
	for {
		if rf, ok := inner.(io.ReaderFrom); ok {
			return struct {
				http.ResponseWriter
				io.ReaderFrom
			}{w, rf}
		}
		wrapper, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		inner = wrapper.Unwrap()
	}
}

func (h fileHandlers) write(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	path, appending := q.must("path"), q.flag("append", false)
	if q.err != nil {
		return q.err
	}
	mode, err := files.ParseMode(q.Get("mode"))
	if err != nil {
		return err
	}
	if limit := h.fs.Config().MaxFileBytes; r.ContentLength > limit {
		return api.TooLarge("maxFileBytes", limit)
	}
	res, err := h.fs.Write(r.Context(), path, r.Body, files.WriteOptions{Mode: mode, Append: appending})
	return httpkit.Reply(w, http.StatusOK, res, err)
}

func (h fileHandlers) remove(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	path, recursive := q.must("path"), q.flag("recursive", false)
	if q.err != nil {
		return q.err
	}
	res, err := h.fs.Delete(r.Context(), path, recursive)
	return httpkit.Reply(w, http.StatusOK, res, err)
}

func (h fileHandlers) mkdir(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	path := q.Get("path")
	if !q.Has("path") {
		var req struct{ Path *string }
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.s.limits.MaxBodyBytes))
		if err != nil {
			return err
		}
		if len(data) > 0 {
			if err := json.Unmarshal(data, &req); err != nil {
				return api.InvalidRequest(api.CodeInvalidJSON, "read body: %w", err)
			}
		}
		if req.Path == nil {
			return api.InvalidRequest(api.CodeInvalidQuery, "missing field `path`")
		}
		path = *req.Path
	}
	res, err := h.fs.Mkdir(r.Context(), path)
	return httpkit.Reply(w, http.StatusOK, res, err)
}

func (h fileHandlers) move(ctx context.Context, in *struct{ Body api.FileMoveRequest }) (*body[api.FileMoveResult], error) {
	res, err := h.fs.Move(ctx, in.Body.From, in.Body.To, in.Body.Overwrite)
	return answer(&res, err)
}

func (h fileHandlers) batch(ctx context.Context, in *struct{ Body api.FileBatchRequest }) (*body[api.FileBatchResult], error) {
	res, err := h.fs.Batch(ctx, in.Body)
	return answer(&res, err)
}

// archiveTypes are the content types of an upload. What the body really is,
// its first bytes tell.
var archiveTypes = []string{"application/x-tar", "application/tar", "application/gzip", "application/x-gzip", "application/x-gtar", "application/zstd", "application/x-zstd"}

func (h fileHandlers) upload(w http.ResponseWriter, r *http.Request) error {
	media := r.Header.Get("Content-Type")
	known := false
	for _, t := range archiveTypes {
		known = known || strings.HasPrefix(media, t)
	}
	if !known {
		return api.InvalidRequest("", "content-type must be application/x-tar")
	}
	if limit := h.fs.Config().MaxUploadBytes; r.ContentLength > limit {
		return api.TooLarge("maxUploadBytes", limit)
	}
	res, err := h.fs.Upload(r.Context(), r.URL.Query().Get("path"), r.Body)
	return httpkit.Reply(w, http.StatusOK, res, err)
}

func (h fileHandlers) archive(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	packing := files.Packing(q.Get("compression"))
	a, err := h.fs.Archive(r.Context(), q.Get("path"), packing)
	if err != nil {
		return err
	}
	defer a.Close()
	media, end := "application/x-tar", ".tar"
	switch packing {
	case files.PackGzip:
		media, end = "application/gzip", ".tar.gz"
	case files.PackZstd:
		media, end = "application/zstd", ".tar.zst"
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(path.Base(a.Path)+end))
	if r.Method == http.MethodHead {
		return nil
	}
	held := &heldWriter{w: w}
	err = a.Write(r.Context(), held)
	switch {
	case err == nil:
		return held.release()
	case !held.released:
		for _, name := range []string{"Content-Type", "Content-Disposition"} {
			w.Header().Del(name)
		}
		return err
	}
	h.s.log.Warn("send archive", "id", httpkit.RequestID(w), "error", err)
	panic(http.ErrAbortHandler) // a broken transfer, not a short archive
}

// maxHeld is how many bytes a [heldWriter] keeps back.
const maxHeld = 256 << 10

// heldWriter keeps the first bytes of a response back, so that an error that
// comes before more than [maxHeld] bytes is still a problem document.
type heldWriter struct {
	w        io.Writer
	held     []byte
	released bool
}

func (h *heldWriter) Write(p []byte) (int, error) {
	if !h.released && len(h.held)+len(p) <= maxHeld {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	if err := h.release(); err != nil {
		return 0, err
	}
	return h.w.Write(p)
}

// release sends what is held back.
func (h *heldWriter) release() error {
	if h.released {
		return nil
	}
	h.released = true
	_, err := h.w.Write(h.held)
	h.held = nil
	return err
}

func (h fileHandlers) watch(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	recursive := q.flag("recursive", true)
	if q.err != nil {
		return q.err
	}
	ctx, cancel := context.WithCancel(r.Context())
	events, err := h.fs.Watch(ctx, q.Get("path"), recursive)
	if err != nil {
		cancel()
		return err
	}
	defer func() {
		cancel()
		for range events { // until the watch has let go of its descriptors
		}
	}()
	stream, err := httpkit.NewStream(w, r)
	if err != nil {
		return nil // the client has gone
	}
	_ = stream.Follow(ctx, func(ctx context.Context) error {
		ev, err := httpkit.Receive(ctx, events)
		if err != nil {
			return err
		}
		return stream.Send("change", 0, ev)
	})
	return nil
}

func (h fileHandlers) search(w http.ResponseWriter, r *http.Request) error {
	q := readFileQuery(r)
	req := api.FileSearchRequest{
		Path: q.Get("path"), Name: q.Get("name"), Content: q.Get("content"),
		Regex: q.flag("regex", false), IgnoreCase: q.flag("ignoreCase", false),
		Hidden: q.flag("hidden", false), NoIgnore: q.flag("noIgnore", false), Limit: q.number("limit"),
	}
	if q.err != nil {
		return q.err
	}
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return h.streamSearch(w, r, req)
	}
	res := api.FileSearchResult{Matches: []api.FileSearchMatch{}}
	var err error
	res.Summary, err = h.fs.Search(r.Context(), req, func(m api.FileSearchMatch) error {
		res.Matches = append(res.Matches, m)
		return nil
	})
	return httpkit.Reply(w, http.StatusOK, res, err)
}

// streamSearch sends matches as they are found. The stream begins with the
// first match or the end, so that a bad request is still a problem document.
func (h fileHandlers) streamSearch(w http.ResponseWriter, r *http.Request, req api.FileSearchRequest) error {
	ctx, cancel := context.WithCancel(r.Context())
	found := make(chan api.FileSearchMatch)
	var sum api.FileSearchSummary
	var failed error
	go func() {
		defer close(found)
		sum, failed = h.fs.Search(ctx, req, func(m api.FileSearchMatch) error {
			select {
			case found <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() { // the search reads files until it has returned
		cancel()
		for range found {
		}
	}()
	first, any := <-found
	if !any && failed != nil {
		return failed
	}
	stream, err := httpkit.NewStream(w, r)
	if err == nil && any {
		err = stream.Send("match", 0, first)
	}
	if err != nil {
		return nil // the client has gone
	}
	err = stream.Follow(ctx, func(ctx context.Context) error {
		m, err := httpkit.Receive(ctx, found)
		if err != nil {
			return err
		}
		return stream.Send("match", 0, m)
	})
	if errors.Is(err, io.EOF) && failed == nil {
		_ = stream.Send("done", 0, sum)
	}
	return nil
}

package sandboxagent

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sandboxagent/sandboxagent/api"
)

// Names of files in the sandbox are absolute, or relative to the home directory of
// the server. All errors of these methods are an [*fs.PathError] that holds an
// [*api.Error], so that errors.Is finds fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission and the codes of package api.

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func named(name string) url.Values { return url.Values{"path": {name}} }

// Open opens a file for reading. The context bounds the reading too, and the
// caller closes the file. The content is streamed as it is read.
func (c *Client) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	resp, err := c.fetch(ctx, request{path: "/v1/fs/file", query: named(name), accept: "application/octet-stream"})
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return resp.Body, nil
}

// OpenRange is [Client.Open] for length bytes from offset on; a negative length
// means up to the end. A range past the end is an error.
func (c *Client) OpenRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if length == 0 {
		return http.NoBody, nil
	}
	span := fmt.Sprintf("bytes=%d-", offset)
	if length > 0 {
		span += strconv.FormatInt(offset+length-1, 10)
	}
	resp, err := c.fetch(ctx, request{
		path: "/v1/fs/file", query: named(name), accept: "application/octet-stream", header: http.Header{"Range": {span}},
	})
	if err == nil && resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		err = fmt.Errorf("range: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return resp.Body, nil
}

// ReadFile returns the content of a file.
func (c *Client) ReadFile(ctx context.Context, name string) ([]byte, error) {
	file, err := c.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	return data, pathError("read", name, err)
}

// WriteOptions say how a file is written.
type WriteOptions struct {
	Mode   fs.FileMode // permission bits; 0 keeps those there are, else 0644, or 0755 for a file that starts with #!
	Append bool        // add to the end instead of replacing the content
}

// Put writes what r gives to a file, making the directories above it. The content
// is streamed. Unless it is appended it is replaced in one step, when all of it
// has arrived. Put does not close r.
func (c *Client) Put(ctx context.Context, name string, r io.Reader, opts WriteOptions) error {
	query := named(name)
	if opts.Mode != 0 {
		query.Set("mode", fmt.Sprintf("%04o", opts.Mode.Perm()))
	}
	if opts.Append {
		query.Set("append", "true")
	}
	body, size := uploadBody(r)
	resp, err := c.send(ctx, request{
		method: http.MethodPut, path: "/v1/fs/file", query: query, body: body, size: size, media: "application/octet-stream",
	})
	if err != nil {
		return pathError("write", name, err)
	}
	drain(resp)
	return nil
}

// uploadBody hides Close from the transport, which would close what belongs to
// the caller, and finds out the size where that is easy.
func uploadBody(r io.Reader) (io.Reader, int64) {
	sized, ok := r.(interface{ Len() int })
	switch {
	case r == nil || ok && sized.Len() == 0:
		return http.NoBody, 0
	case ok:
		return struct{ io.Reader }{r}, int64(sized.Len())
	}
	return struct{ io.Reader }{r}, -1
}

// WriteFile writes data to a file, making the directories above it. A perm of 0
// leaves the permissions to the server, as [WriteOptions] says.
func (c *Client) WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	return c.Put(ctx, name, bytes.NewReader(data), WriteOptions{Mode: perm})
}

// WriteFiles writes several small files, all or none.
func (c *Client) WriteFiles(ctx context.Context, req api.FileBatchRequest) (*api.FileBatchResult, error) {
	result, err := call[api.FileBatchResult](ctx, c, http.MethodPost, "/v1/fs/batch", nil, req)
	if err != nil {
		return nil, fmt.Errorf("write files: %w", err)
	}
	return result, nil
}

// ReadDir lists a directory, sorted by name. Links are not followed; the
// [api.FileEntry] is the Sys of the entry's Info.
func (c *Client) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	list, err := get[[]api.FileEntry](ctx, c, "/v1/fs/entries", named(name))
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	entries := make([]fs.DirEntry, len(*list))
	for i, e := range *list {
		entries[i] = fs.FileInfoToDirEntry(entryInfo(e))
	}
	return entries, nil
}

// Stat describes what is at a path, links followed. The [api.FileStat] is its
// Sys.
func (c *Client) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	stat, err := get[api.FileStat](ctx, c, "/v1/fs/stat", named(name))
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return statInfo(*stat), nil
}

// Mkdir makes a directory and those above it. One that exists is not an error.
func (c *Client) Mkdir(ctx context.Context, name string) error {
	return pathError("mkdir", name, c.do(ctx, http.MethodPost, "/v1/fs/mkdir", named(name), nil))
}

// MoveOptions say how [Client.Move] works.
type MoveOptions struct {
	Overwrite bool // replace what is there, directories included
}

// Move moves a file or a directory, making the directories above its new name.
func (c *Client) Move(ctx context.Context, from, to string, opts MoveOptions) error {
	err := c.do(ctx, http.MethodPost, "/v1/fs/move", nil, api.FileMoveRequest{From: from, To: to, Overwrite: opts.Overwrite})
	return pathError("move", from, err)
}

// Remove removes a file, a link or an empty directory.
func (c *Client) Remove(ctx context.Context, name string) error {
	return pathError("remove", name, c.do(ctx, http.MethodDelete, "/v1/fs/entry", named(name), nil))
}

// RemoveAll removes what is at a path with everything in it. Nothing there is
// no error.
func (c *Client) RemoveAll(ctx context.Context, name string) error {
	query := named(name)
	query.Set("recursive", "true")
	err := c.do(ctx, http.MethodDelete, "/v1/fs/entry", query, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return pathError("removeall", name, err)
}

// Upload copies a tree of files into a directory of the sandbox, which is made when
// it is not there. The files are streamed.
func (c *Client) Upload(ctx context.Context, dir string, files fs.FS) (*api.FileUploadResult, error) {
	pr, pw := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		w := tar.NewWriter(pw)
		err := w.AddFS(files)
		if err == nil {
			err = w.Close()
		}
		pw.CloseWithError(err)
	}()
	result, err := c.UploadTar(ctx, dir, pr)
	pr.CloseWithError(errors.New("upload ended")) // lets go of the packer when the server did not want it all
	<-packed
	return result, err
}

// UploadTar unpacks a tar archive, which may be compressed with gzip or zstd,
// into a directory of the sandbox. A name that would leave the directory refuses the
// whole archive. UploadTar does not close archive.
func (c *Client) UploadTar(ctx context.Context, dir string, archive io.Reader) (*api.FileUploadResult, error) {
	body, size := uploadBody(archive)
	resp, err := c.send(ctx, request{
		method: http.MethodPost, path: "/v1/fs/upload-batch", query: named(dir), body: body, size: size, media: "application/x-tar",
	})
	if err != nil {
		return nil, pathError("upload", dir, err)
	}
	result, err := decode[api.FileUploadResult](resp)
	return result, pathError("upload", dir, err)
}

// DownloadOptions say how [Client.Download] packs.
type DownloadOptions struct {
	Compression string // "gzip" or "zstd"; empty means none
}

// Download returns a directory or a file as a tar archive, streamed. The caller
// closes it. An archive that breaks off ends with an error.
func (c *Client) Download(ctx context.Context, name string, opts DownloadOptions) (io.ReadCloser, error) {
	query := named(name)
	if opts.Compression != "" {
		query.Set("compression", opts.Compression)
	}
	resp, err := c.fetch(ctx, request{path: "/v1/fs/archive", query: query, accept: "*/*"})
	if err != nil {
		return nil, pathError("download", name, err)
	}
	return resp.Body, nil
}

// WatchOptions say what [Client.Watch] sees.
type WatchOptions struct {
	Flat bool // only the directory itself, not those below
}

// Watch yields what changes below a path until ctx ends or the loop is left. An
// error is the last thing it yields; a watch is not taken up again by itself,
// since what changed in between would be unknown.
func (c *Client) Watch(ctx context.Context, name string, opts WatchOptions) iter.Seq2[api.FileWatchEvent, error] {
	return func(yield func(api.FileWatchEvent, error) bool) {
		query := named(name)
		query.Set("recursive", strconv.FormatBool(!opts.Flat))
		f := follower{c: c, request: request{path: "/v1/fs/watch", query: query}, once: true}
		for e, err := range f.events(ctx) {
			if err != nil {
				yield(api.FileWatchEvent{}, pathError("watch", name, err))
				return
			}
			var change api.FileWatchEvent
			if e.name != "change" {
				continue
			}
			if err := json.Unmarshal(e.data, &change); err != nil {
				yield(change, pathError("watch", name, fmt.Errorf("decode event: %w", err)))
				return
			}
			if !yield(change, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(api.FileWatchEvent{}, pathError("watch", name, ctx.Err()))
		}
	}
}

// Search yields files that match, as they are found. When a limit ended the
// search its last yield is an error that matches [api.CodeLimitExceeded].
func (c *Client) Search(ctx context.Context, req api.FileSearchRequest) iter.Seq2[api.FileSearchMatch, error] {
	return func(yield func(api.FileSearchMatch, error) bool) {
		f := follower{c: c, request: request{path: "/v1/fs/search", query: searchQuery(req)}, once: true}
		for e, err := range f.events(ctx) {
			var match api.FileSearchMatch
			if err == nil && e.name == "match" {
				if err = json.Unmarshal(e.data, &match); err == nil {
					if !yield(match, nil) {
						return
					}
					continue
				}
			}
			var summary api.FileSearchSummary
			if err == nil && e.name == "done" {
				if err = json.Unmarshal(e.data, &summary); err == nil && !summary.Truncated {
					return
				}
				if err == nil {
					err = fmt.Errorf("more than %d matches: %w", summary.Matches, api.CodeLimitExceeded)
				}
			}
			if err != nil {
				yield(api.FileSearchMatch{}, pathError("search", req.Path, err))
				return
			}
		}
		err := ctx.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		yield(api.FileSearchMatch{}, pathError("search", req.Path, err))
	}
}

func searchQuery(req api.FileSearchRequest) url.Values {
	q := url.Values{}
	for key, value := range map[string]string{"path": req.Path, "name": req.Name, "content": req.Content} {
		if value != "" {
			q.Set(key, value)
		}
	}
	for key, on := range map[string]bool{"regex": req.Regex, "ignoreCase": req.IgnoreCase, "hidden": req.Hidden, "noIgnore": req.NoIgnore} {
		if on {
			q.Set(key, "true")
		}
	}
	if req.Limit > 0 {
		q.Set("limit", strconv.Itoa(req.Limit))
	}
	return q
}

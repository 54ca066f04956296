package sandboxagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// maxReply bounds a JSON answer and maxProblem the body of a refusal, in bytes.
const (
	maxReply   = 256 << 20
	maxProblem = 64 << 10
)

// A request is one HTTP exchange.
type request struct {
	method string
	path   string // escaped, from /v1 on
	query  url.Values
	body   io.Reader
	size   int64 // of body; -1 when unknown
	media  string
	accept string // empty means JSON
	header http.Header
}

// route joins segments, which are escaped, to a path.
func route(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// send does one exchange. A status from 400 on is an *api.Error; otherwise the
// caller closes the body. The context governs the body too.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	if c.baseErr != nil {
		return nil, c.baseErr
	}
	target := c.base.String() + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, r.body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.body != nil && r.body != http.NoBody {
		req.ContentLength = r.size
		if r.size < 0 {
			req.Body = pump(ctx, r.body)
		}
	}
	for key, values := range c.header {
		req.Header[key] = values
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	accept := r.accept
	if accept == "" {
		accept = "application/json"
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("X-Request-Id", requestID())
	resp, err := c.http.Do(req)
	if ended := ctx.Err(); err != nil && ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, clean(err)) // as a read of the body that was given up
	}
	if err != nil {
		return nil, clean(err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

// pump returns the content of r in a way that ends with ctx while r has nothing to
// give: a request that has ended may wait for a read that goes on.
func pump(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	return pumped{out, context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })}
}

type pumped struct {
	*io.PipeReader
	stop func() bool
}

func (p pumped) Close() error {
	p.stop()
	return p.PipeReader.Close()
}

// clean takes the URL, which may hold a token, out of an error of net/http.
func clean(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Err == context.Canceled || u.Err == context.DeadlineExceeded {
			return u.Err
		}
		return fmt.Errorf("%s request: %w", strings.ToLower(u.Op), u.Err)
	}
	return err
}

func requestID() string {
	var raw [8]byte
	rand.Read(raw[:])
	return "sdk-" + hex.EncodeToString(raw[:])
}

// readProblem turns a refusal into an error. One that is not a problem document,
// say of a proxy on the way, keeps its text as the detail.
func readProblem(resp *http.Response) *api.Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	problem := new(api.Error)
	if json.Unmarshal(body, problem) != nil || problem.Title == "" && problem.Detail == "" {
		problem = &api.Error{Type: "about:blank", Title: http.StatusText(resp.StatusCode), Detail: plainDetail(resp, body)}
	}
	problem.Status = resp.StatusCode
	if problem.Code == "" {
		problem.Code = codeOf(problem)
	}
	if problem.RequestID == "" {
		problem.RequestID = resp.Header.Get("X-Request-Id")
	}
	return problem
}

func plainDetail(resp *http.Response, body []byte) string {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	text := strings.TrimSpace(string(body))
	if text == "" || media == "text/html" {
		return "HTTP status " + resp.Status
	}
	return text
}

// codeOf finds the code of a problem of an earlier server, which sends none: it
// is the kind of problem, or what the detail says of a path.
func codeOf(p *api.Error) api.Code {
	switch {
	case strings.Contains(p.Detail, "path not found"):
		return api.CodePathNotFound
	case strings.Contains(p.Detail, "already exists"), strings.Contains(p.Detail, "File exists"):
		return api.CodeAlreadyExists
	case strings.Contains(p.Detail, "Permission denied"):
		return api.CodePermissionDenied
	case p.Status == http.StatusUnauthorized:
		return api.CodeTokenInvalid
	}
	return api.Code(p.Type[strings.LastIndexByte(p.Type, ':')+1:])
}

// The tries of a request that may be sent twice, and the wait before the
// second, which doubles.
const (
	maxTries  = 3
	retryWait = 100 * time.Millisecond
)

// fetch is send for requests without a body that change nothing: it tries again
// when the connection breaks or the server is not there for the moment.
func (c *Client) fetch(ctx context.Context, r request) (*http.Response, error) {
	r.method = http.MethodGet
	for try := 1; ; try++ {
		resp, err := c.send(ctx, r)
		if err == nil || try == maxTries || c.baseErr != nil || ctx.Err() != nil || !transient(err) {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(retryWait << (try - 1)):
		}
	}
}

// transient reports whether the same request may work in a moment.
func transient(err error) bool {
	var problem *api.Error
	if !errors.As(err, &problem) {
		return true
	}
	switch problem.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusBadGateway:
		return problem.Type == "about:blank" // a proxy's; the server means something that stays
	}
	return false
}

// get reads a JSON answer.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	resp, err := c.fetch(ctx, request{path: path, query: query})
	if err != nil {
		return nil, err
	}
	return decode[T](resp)
}

// call sends in as JSON, unless it is nil, and reads a JSON answer.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (*T, error) {
	resp, err := c.sendJSON(ctx, method, path, query, in)
	if err != nil {
		return nil, err
	}
	return decode[T](resp)
}

// do is call for answers that say nothing.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in any) error {
	resp, err := c.sendJSON(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	drain(resp)
	return nil
}

func (c *Client) sendJSON(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	r := request{method: method, path: path, query: query}
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		r.body, r.size, r.media = bytes.NewReader(body), int64(len(body)), "application/json"
	}
	return c.send(ctx, r)
}

// decode reads one JSON value and closes the body. No body at all is the zero
// value.
func decode[T any](resp *http.Response) (*T, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxReply {
		return nil, fmt.Errorf("read answer: more than %d bytes", maxReply)
	}
	out := new(T)
	if len(bytes.TrimSpace(body)) == 0 {
		return out, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return out, nil
}

// drain reads what little is left of a body, so that the connection can be used
// again, and closes it.
func drain(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, maxProblem)
	resp.Body.Close()
}

// doing says what a failed call was about; a nil err stays nil.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

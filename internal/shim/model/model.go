// Package model is the forwarder between what runs in a sandbox and the model
// providers. The sandbox has a phantom key; the forwarder puts the real one in its
// place, for the paths and with the headers that it knows, towards the upstream that
// the user has set and nowhere else.
//
// It knows the four dialects that agents speak: Anthropic messages, OpenAI chat
// completions and responses, and Gemini generateContent. What it refuses it refuses
// as the dialect does, so that agents show the text. It keeps no count of what is
// used.
package model

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxBody = 64 << 20 // bytes of a request; the largest that a provider takes is 32 MB

	// headerTimeout is how long an upstream may take to the first byte of its
	// response. A model that thinks before it answers takes minutes.
	headerTimeout = 15 * time.Minute
)

// Forwarder is an [http.Handler]. Its methods may be called from several goroutines.
type Forwarder struct {
	sandbox   string
	access    atomic.Pointer[Access]
	proxy     *httputil.ReverseProxy
	transport *http.Transport
}

// New returns a forwarder for the sandbox with an id. It logs what goes wrong with
// upstreams.
func New(sandbox string, access *Access, log *log.Logger) *Forwarder {
	f := &Forwarder{sandbox: sandbox}
	f.access.Store(access)
	f.transport = &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return f.access.Load().proxy(r.URL) },
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // what is compressed cannot be searched for the key
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: headerTimeout,
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      f.transport,
		FlushInterval:  -1, // a stream passes as it comes
		ModifyResponse: modifyResponse,
		ErrorHandler:   upstreamFailed,
		ErrorLog:       log,
	}
	return f
}

// Close closes the idle connections to upstreams. Requests go on.
func (f *Forwarder) Close() { f.transport.CloseIdleConnections() }

// SetAccess replaces what requests from now on are forwarded with.
func (f *Forwarder) SetAccess(access *Access) { f.access.Store(access) }

// Access returns what requests are forwarded with.
func (f *Forwarder) Access() *Access { return f.access.Load() }

// ServeHTTP forwards a request, or refuses it.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && (r.RequestURI == "/" || r.RequestURI == "/api/hello") {
		return // agents look whether a server answers
	}
	to, ok := match(r)
	if !ok {
		refuse(w, dialectOf(r), http.StatusNotFound, "not_found_error",
			"a sandbox reaches models by the paths of their APIs only, and this request is not one: "+r.Method+" "+r.URL.Path)
		return
	}
	access := f.access.Load()
	vendor := access.vendors[to.dialect.vendor]
	if !vendor.ready() {
		refuse(w, to.dialect, http.StatusBadRequest, "authentication_error", access.missing(to.dialect.vendor, f.sandbox))
		return
	}
	if r.ContentLength > maxBody {
		refuse(w, to.dialect, http.StatusRequestEntityTooLarge, "request_too_large", tooLarge)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	f.proxy.ServeHTTP(w, r.WithContext(withTarget(r.Context(), &target{to, vendor})))
}

const tooLarge = "the request is larger than the 64 MiB that a sandbox may send to a model"

// A target is where one request goes, and with what.
type target struct {
	route
	vendor vendor
}

// requestHeaders are those that pass to the upstream, in canonical form. All others
// are dropped, above all the credentials of the caller, and what says which encoding
// it takes.
var requestHeaders = map[string]bool{
	"Accept": true, "Content-Type": true, "Content-Encoding": true, "User-Agent": true, "Anthropic-Version": true, "Anthropic-Beta": true,
}

// rewrite makes the request to the upstream from what is known to be harmless.
func rewrite(r *httputil.ProxyRequest) {
	t := targetOf(r.In.Context())
	header := make(http.Header)
	for name, values := range r.In.Header {
		if requestHeaders[name] || strings.HasPrefix(name, "Openai-") {
			header[name] = values
		}
	}
	if _, ok := header["User-Agent"]; !ok {
		header.Set("User-Agent", "") // else one of ours is added
	}
	t.vendor.authorize(t.dialect.vendor, header)
	r.Out.Header, r.Out.Trailer = header, nil
	r.Out.URL = t.url(t.vendor.base)
	r.Out.Host = r.Out.URL.Host
}

// responseHeaders are those that pass to the sandbox, next to those that begin as
// responsePrefixes do.
var responseHeaders = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Cache-Control": true, "Date": true, "Retry-After": true, "Retry-After-Ms": true,
	"Request-Id": true, "X-Request-Id": true, "X-Should-Retry": true,
}

var responsePrefixes = []string{"Anthropic-", "Openai-", "X-Ratelimit-"}

var errRedirect = errors.New("it answered with a redirect, which is not followed")

// modifyResponse keeps from the sandbox what could lead it elsewhere, and the key.
func modifyResponse(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 || resp.StatusCode == http.StatusSwitchingProtocols {
		return errRedirect
	}
	key := targetOf(resp.Request.Context()).vendor.key.Reveal()
	resp.Trailer = nil
	for name, values := range resp.Header {
		if !responseHeaders[name] && !hasPrefix(name, responsePrefixes) {
			delete(resp.Header, name)
			continue
		}
		for i, value := range values {
			values[i] = redactText(value, key)
		}
	}
	resp.Body = redactBody(&untrailed{resp.Body, resp}, key)
	return nil
}

// untrailed drops the trailers of a response, which are there once its body is read.
type untrailed struct {
	io.ReadCloser
	resp *http.Response
}

func (u *untrailed) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	u.resp.Trailer = nil
	return n, err
}

func hasPrefix(name string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// upstreamFailed answers in place of an upstream that did not.
func upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	t := targetOf(r.Context())
	var large *http.MaxBytesError
	switch {
	case r.Context().Err() != nil: // nobody waits for the answer
		panic(http.ErrAbortHandler)
	case errors.As(err, &large):
		refuse(w, t.dialect, http.StatusRequestEntityTooLarge, "request_too_large", tooLarge)
	default:
		refuse(w, t.dialect, http.StatusBadGateway, "api_error",
			"the model provider at "+t.vendor.base.Host+" could not be asked: "+redactText(err.Error(), t.vendor.key.Reveal()))
	}
}

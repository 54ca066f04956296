// Package ui holds the inspector: the web page of a sandbox, built from src into
// dist, which is part of the program. It serves files and knows nothing of the
// API that the page calls.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed dist
var dist embed.FS

const index = "index.html"

// policy allows the page what comes from its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"base-uri 'self'; form-action 'none'; frame-ancestors 'self'"

// Page is the inspector. It is safe for concurrent use.
type Page struct {
	files map[string]*file
}

type file struct {
	content []byte
	kind    string
	etag    string
	packed  func() []byte // gzip, made on first use
}

// New returns the inspector that is built into the program.
func New() *Page {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is valid
	}
	p := &Page{files: map[string]*file{}}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		p.files[name] = newFile(name, content)
		return err
	})
	if err != nil {
		panic(err) // the files are in memory
	}
	return p
}

func newFile(name string, content []byte) *file {
	sum := sha256.Sum256(content)
	kind := map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}[path.Ext(name)]
	if kind == "" {
		kind = mime.TypeByExtension(path.Ext(name))
	}
	return &file{
		content: content,
		kind:    kind,
		etag:    `"` + hex.EncodeToString(sum[:12]) + `"`,
		packed: sync.OnceValue(func() []byte {
			var buf bytes.Buffer
			w, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // the level is valid
			_, _ = w.Write(content)
			_ = w.Close()
			return buf.Bytes()
		}),
	}
}

// Serve answers with the file of that name, which has no slash in front, and
// reports whether there is one. The page itself has every name without a dot,
// since it distinguishes its own views. Base is the address of the directory with the
// page as seen from the request, such as "./".
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, name, base string) bool {
	if !strings.Contains(name, ".") {
		p.serveIndex(w, r, base)
		return true
	}
	f := p.files[name]
	if f == nil {
		return false
	}
	if name == index {
		p.serveIndex(w, r, base)
		return true
	}
	// The name changes with the content.
	f.serve(w, r, "public, max-age=31536000, immutable")
	return true
}

func (p *Page) serveIndex(w http.ResponseWriter, r *http.Request, base string) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	f := p.files[index]
	if base != "./" {
		f = newFile(index, bytes.Replace(f.content, []byte(`<base href="./">`), []byte(`<base href="`+base+`">`), 1))
	}
	f.serve(w, r, "no-cache")
}

func (f *file) serve(w http.ResponseWriter, r *http.Request, caching string) {
	h := w.Header()
	h.Set("Cache-Control", caching)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", f.etag)
	h.Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	content := f.content
	if acceptsGzip(r) {
		content = f.packed()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(content) // a client that has gone needs no answer
	}
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		coding, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if coding == "gzip" {
			return strings.TrimSpace(quality) != "q=0"
		}
	}
	return false
}

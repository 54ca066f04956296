// Package fakemodel is a model server without a model: it speaks the Anthropic
// Messages, OpenAI Responses, OpenAI Chat Completions and Gemini APIs well enough
// for real coding agents, and answers by rules or from a script. It serves tests
// and people who want to try an agent without a key. It checks no credentials and
// is not meant to be reached from elsewhere.
package fakemodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options configure a [Server]. The zero value answers by the rules of [Usage].
type Options struct {
	// Script answers the first requests that offer tools, one turn each, in
	// order. Requests without tools, which agents send for titles and the like,
	// and those after the last turn are answered by the rules.
	Script []Turn

	// Escalate makes every call of a shell tool that can ask for more rights do
	// so, which makes its agent ask the user. Files are written that way always.
	Escalate bool
}

const (
	maxBody     = 64 << 20 // bytes of a request
	maxRequests = 1000     // requests kept
)

// A Server is an http.Handler. Use [New].
type Server struct {
	opts Options

	mu       sync.Mutex
	script   []Turn
	requests []Request
	ids      int
}

// New returns a Server.
func New(opts Options) *Server {
	return &Server{opts: opts, script: slices.Clone(opts.Script)}
}

// Requests returns what has been asked so far, the oldest first; of more than
// 1,000 requests the newest.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// A dialect is one API.
type dialect struct {
	name   string
	decode func(path string, body []byte) (Request, error)
	stream func(e *events, id int, req Request, t Turn)
	whole  func(id int, req Request, t Turn) any
	fault  func(status int, message string) any
}

var dialects = map[string]dialect{
	"anthropic": {"anthropic", decodeMessages, streamMessages, wholeMessages, messagesFault},
	"responses": {"responses", decodeResponses, streamResponses, wholeResponses, openAIFault},
	"chat":      {"chat", decodeChat, streamChat, wholeChat, openAIFault},
	"gemini":    {"gemini", decodeGemini, streamGemini, wholeGemini, geminiFault},
}

func dialectOf(path string) (dialect, bool) {
	switch {
	case strings.HasSuffix(path, "/messages"):
		return dialects["anthropic"], true
	case strings.HasSuffix(path, "/responses"):
		return dialects["responses"], true
	case strings.HasSuffix(path, "/chat/completions"):
		return dialects["chat"], true
	case strings.HasSuffix(path, ":generateContent"), strings.HasSuffix(path, ":streamGenerateContent"):
		return dialects["gemini"], true
	}
	return dialect{}, false
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodHead:
		w.WriteHeader(http.StatusOK)
	case r.Method == http.MethodGet && r.URL.Path == "/__requests":
		writeJSON(w, http.StatusOK, s.Requests())
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/models"):
		writeJSON(w, http.StatusOK, json.RawMessage(`{"object":"list","data":[{"id":"`+Model+`","object":"model","type":"model","display_name":"Scripted model","created":1,"owned_by":"fake"}],"models":[{"name":"models/`+Model+`"}]}`))
	case r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/count_tokens") || strings.HasSuffix(r.URL.Path, ":countTokens")):
		writeJSON(w, http.StatusOK, map[string]int64{"input_tokens": r.ContentLength / 4, "totalTokens": r.ContentLength / 4})
	case r.Method == http.MethodPost:
		s.answer(w, r)
	default:
		writeJSON(w, http.StatusNotFound, openAIFault(http.StatusNotFound, "no such endpoint"))
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	d, ok := dialectOf(r.URL.Path)
	if !ok {
		writeJSON(w, http.StatusNotFound, openAIFault(http.StatusNotFound, "no such endpoint"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		writeJSON(w, http.StatusRequestEntityTooLarge, d.fault(http.StatusRequestEntityTooLarge, fmt.Sprintf("body over %d bytes", maxBody)))
		return
	}
	if err != nil {
		return // the client has gone
	}
	req, err := d.decode(r.URL.Path, body)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, d.fault(http.StatusBadRequest, err.Error()))
		return
	}
	req.Dialect, req.Path = d.name, r.URL.Path
	turn, id := s.next(req)
	if !wait(r.Context(), time.Duration(turn.Delay)) {
		return
	}
	switch {
	case turn.Error != nil:
		writeJSON(w, turn.Error.Status, d.fault(turn.Error.Status, turn.Error.Message))
	case req.Stream:
		d.stream(newEvents(r.Context(), w, time.Duration(turn.Pace)), id, req, turn)
	default:
		writeJSON(w, http.StatusOK, d.whole(id, req, turn))
	}
}

// next records a request and chooses its answer. The id numbers requests from 1.
func (s *Server) next(req Request) (Turn, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	if len(s.requests) >= maxRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, req)
	var t Turn
	if len(s.script) > 0 && len(req.Tools) > 0 {
		t, s.script = s.script[0], s.script[1:]
	} else {
		t = decide(req, s.opts.Escalate)
	}
	t.Calls = slices.Clone(t.Calls)
	for i := range t.Calls {
		t.Calls[i].id = fmt.Sprintf("call_%d_%d", s.ids, i)
		if len(t.Calls[i].Input) == 0 {
			t.Calls[i].Input = json.RawMessage(`{}`)
		}
	}
	return t, s.ids
}

func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// writeJSON ignores a client that has gone.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// events writes server-sent events until the client goes.
type events struct {
	ctx   context.Context
	w     http.ResponseWriter
	flush *http.ResponseController
	pace  time.Duration // between deltas
	gone  bool
}

func newEvents(ctx context.Context, w http.ResponseWriter, pace time.Duration) *events {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return &events{ctx: ctx, w: w, flush: http.NewResponseController(w), pace: pace}
}

// send writes one event; without a name it has data only.
func (e *events) send(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		e.gone = true
		return
	}
	if name != "" {
		e.raw("event: " + name + "\n")
	}
	e.raw("data: " + string(data) + "\n\n")
	if !e.gone {
		e.gone = e.flush.Flush() != nil
	}
}

func (e *events) raw(text string) {
	if e.gone || e.ctx.Err() != nil {
		e.gone = true
		return
	}
	_, err := io.WriteString(e.w, text)
	e.gone = err != nil
}

// deltas calls each with the pieces of a text, paced, until the client goes.
func (e *events) deltas(text string, each func(piece string)) {
	for i, piece := range pieces(text) {
		if i > 0 && !wait(e.ctx, e.pace) {
			e.gone = true
		}
		if e.gone {
			return
		}
		each(piece)
	}
}

// pieces cuts a text after blanks into parts of at least twelve bytes.
func pieces(text string) []string {
	var parts []string
	start := 0
	for i := range len(text) {
		if i-start >= 12 && text[i] == ' ' {
			parts = append(parts, text[start:i+1])
			start = i + 1
		}
	}
	if start < len(text) {
		parts = append(parts, text[start:])
	}
	return parts
}

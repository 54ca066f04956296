package sandboxagent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

// wireServer is an ACP endpoint that does what no proper server does: each test
// says how a prompt is answered and how a stream is served.
type wireServer struct {
	t    *testing.T
	post func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, method string)

	mu      sync.Mutex
	events  []string
	changed chan struct{}
	cut     int // events after which the stream is cut once; 0 for never
	opened  int
	replies []string
}

func newWire(t *testing.T, post func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, method string)) (*wireServer, *sandboxagent.Client) {
	w := &wireServer{t: t, post: post, changed: make(chan struct{})}
	server := httptest.NewServer(w)
	c := sandboxagent.New(server.URL, sandboxagent.WithDir("/"))
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return w, c
}

func (w *wireServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case !strings.HasPrefix(r.URL.Path, "/v1/acp/"):
		http.NotFound(rw, r)
	case r.Method == http.MethodGet:
		w.stream(rw, r)
	case r.Method == http.MethodDelete:
		rw.WriteHeader(http.StatusNoContent)
	default:
		body, _ := io.ReadAll(r.Body)
		msg, err := acp.Parse(body)
		if err != nil {
			w.t.Errorf("client sent %q: %v", body, err)
		}
		id := string(msg.ID)
		switch {
		case msg.Kind == acp.Response:
			w.mu.Lock()
			w.replies = append(w.replies, string(body))
			w.mu.Unlock()
			w.emit()
			rw.WriteHeader(http.StatusAccepted)
		case msg.Method == acp.MethodInitialize:
			w.answer(rw, id, `{"protocolVersion":1}`)
		case msg.Method == acp.MethodSessionNew:
			w.answer(rw, id, `{"sessionId":"s1","configOptions":[]}`)
		case msg.Kind == acp.Notification:
			rw.WriteHeader(http.StatusAccepted)
		default:
			w.post(w, rw, r, id, msg.Method)
		}
	}
}

// answer sends a result both ways, as servers do.
func (w *wireServer) answer(rw http.ResponseWriter, id, result string) {
	frame := response(id, result)
	w.emit(frame)
	rw.Header().Set("Content-Type", "application/json")
	io.WriteString(rw, frame)
}

func response(id, result string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
}

func say(text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s1","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":%q}}}}`, text)
}

func (w *wireServer) emit(frames ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, frames...)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *wireServer) stream(rw http.ResponseWriter, r *http.Request) {
	next, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.WriteHeader(http.StatusOK)
	w.mu.Lock()
	w.opened++
	w.mu.Unlock()
	for {
		w.mu.Lock()
		events, changed, cut := w.events, w.changed, w.cut
		w.mu.Unlock()
		for ; next < len(events); next++ {
			fmt.Fprintf(rw, "event: message\nid: %d\ndata: %s\n\n", next+1, events[next])
			if next+1 == cut {
				w.mu.Lock()
				w.cut = 0
				w.mu.Unlock()
				return
			}
		}
		rw.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func wireSession(t *testing.T, c *sandboxagent.Client) *sandboxagent.Session {
	t.Helper()
	session, err := c.CreateSession(testContext(t), "x", sandboxagent.CreateSessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestAnswerWaitsForItsUpdates(t *testing.T) {
	release := make(chan struct{})
	w, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		// The POST is faster than the stream.
		io.WriteString(rw, response(id, `{"stopReason":"end_turn"}`))
		rw.(http.Flusher).Flush()
		go func() {
			<-release
			w.emit(say("a"), say("b"), response(id, `{"stopReason":"end_turn"}`))
		}()
	})
	_ = w
	session := wireSession(t, c)
	close(release)
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("x"))
	if err != nil || turn.Text != "ab" || turn.StopReason != acp.StopEndTurn {
		t.Errorf("got %+v, %v", turn, err)
	}
}

func TestAnswerWithoutStream(t *testing.T) {
	_, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		io.WriteString(rw, response(id, `{"stopReason":"end_turn"}`)) // and never an event
	})
	turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
	if err != nil || turn.StopReason != acp.StopEndTurn {
		t.Errorf("got %+v, %v", turn, err)
	}
}

func TestAnswerByStreamAlone(t *testing.T) {
	for name, status := range map[string]int{"accepted": http.StatusAccepted, "proxy timeout": http.StatusGatewayTimeout} {
		t.Run(name, func(t *testing.T) {
			_, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
				rw.WriteHeader(status)
				w.emit(say("a"), response(id, `{"stopReason":"end_turn"}`))
			})
			turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
			if err != nil || turn.Text != "a" {
				t.Errorf("got %+v, %v", turn, err)
			}
		})
	}
	t.Run("cut connection", func(t *testing.T) {
		_, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
			w.emit(say("a"), response(id, `{"stopReason":"end_turn"}`))
			panic(http.ErrAbortHandler)
		})
		turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
		if err != nil || turn.Text != "a" {
			t.Errorf("got %+v, %v", turn, err)
		}
	})
}

func TestStreamIsOpenedAnew(t *testing.T) {
	w, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		w.mu.Lock()
		w.cut = len(w.events) + 2
		w.mu.Unlock()
		w.emit(say("a"), say("b"), say("c"), say("d"))
		w.answer(rw, id, `{"stopReason":"end_turn"}`)
	})
	turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
	if err != nil || turn.Text != "abcd" {
		t.Errorf("got %+v, %v", turn, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opened < 2 {
		t.Errorf("stream was opened %d times", w.opened)
	}
}

func TestRefusedCallKeepsTheConnection(t *testing.T) {
	n := 0
	_, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		if n++; n == 1 {
			rw.WriteHeader(http.StatusConflict)
			io.WriteString(rw, `{"type":"urn:sandbox-agent:error:conflict","title":"Conflict","status":409,"detail":"conflict: no"}`)
			return
		}
		w.answer(rw, id, `{"stopReason":"end_turn"}`)
	})
	session := wireSession(t, c)
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("x")); err == nil || !strings.Contains(err.Error(), "conflict: no") {
		t.Errorf("error is %v", err)
	}
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("x")); err != nil {
		t.Error(err)
	}
}

func TestUnknownRequestsAreRefused(t *testing.T) {
	w, c := newWire(t, func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		w.emit(`{"jsonrpc":"2.0","id":"6f1c","method":"fs/read_text_file","params":{"sessionId":"s1","path":"/x"}}`,
			`{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"other","toolCall":{"toolCallId":"1"},"options":[]}}`,
			`{"jsonrpc":"2.0","method":"x/unknown"}`, `42`, say("a"))
		w.answer(rw, id, `{"stopReason":"end_turn"}`)
	})
	turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
	if err != nil || turn.Text != "a" {
		t.Errorf("got %+v, %v", turn, err)
	}
	ctx := testContext(t)
	for {
		w.mu.Lock()
		replies := strings.Join(w.replies, "\n")
		count, changed := len(w.replies), w.changed
		w.mu.Unlock()
		if count == 2 {
			if !strings.Contains(replies, `"id":"6f1c","error":{"code":-32601`) || !strings.Contains(replies, `"id":0,"result":{"outcome":{"outcome":"cancelled"}}`) {
				t.Errorf("replies are %s", replies)
			}
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("replies are %s", replies)
		}
	}
}

func TestSessionWithoutID(t *testing.T) {
	var n atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.NotFound(rw, r)
			return
		}
		n.Add(1)
		var msg struct{ ID json.RawMessage }
		json.NewDecoder(r.Body).Decode(&msg)
		io.WriteString(rw, response(string(msg.ID), `{"echoed":{}}`))
	}))
	defer server.Close()
	c := sandboxagent.New(server.URL, sandboxagent.WithDir("/"))
	defer c.Close()
	_, err := c.CreateSession(testContext(t), "x", sandboxagent.CreateSessionOptions{})
	if err == nil || n.Load() > 3 {
		t.Errorf("after %d requests: %v", n.Load(), err)
	}
}

func TestServerForgetsTheConnection(t *testing.T) {
	gone := false
	var mu sync.Mutex
	w := &wireServer{t: t, changed: make(chan struct{}), post: func(w *wireServer, rw http.ResponseWriter, r *http.Request, id, _ string) {
		mu.Lock()
		gone = true
		mu.Unlock()
		w.mu.Lock()
		w.cut = len(w.events) + 1
		w.mu.Unlock()
		w.emit(say("a"))
		<-r.Context().Done()
	}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer func() { mu.Unlock() }()
		if gone && r.Method == http.MethodGet {
			rw.WriteHeader(http.StatusNotFound)
			io.WriteString(rw, `{"type":"urn:sandbox-agent:error:session_not_found","title":"Session Not Found","status":404}`)
			return
		}
		mu.Unlock()
		w.ServeHTTP(rw, r)
		mu.Lock()
	}))
	defer server.Close()
	c := sandboxagent.New(server.URL, sandboxagent.WithDir("/"))
	defer c.Close()
	turn, err := wireSession(t, c).Prompt(testContext(t), sandboxagent.Text("x"))
	if !errors.Is(err, sandboxagent.ErrSessionNotFound) || turn == nil || turn.Text != "a" {
		t.Errorf("got %+v, %v", turn, err)
	}
}

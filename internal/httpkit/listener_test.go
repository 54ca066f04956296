package httpkit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// flood is a response that no buffer holds.
const flood = 64 << 20

// serve serves a router that takes uploads and sends floods, and returns its address.
func serve(t *testing.T, cfg httpkit.Config) string {
	t.Helper()
	if name := t.Name(); !strings.Contains(name, "/") { // net/http keeps a connection for half a second after its end
		before := goleak.IgnoreCurrent()
		t.Cleanup(func() { testkit.Await(t, "connections to end", func() bool { return goleak.Find(before) == nil }) })
	}
	rt := newRouter(cfg)
	rt.Handle(httpkit.Op("put", http.MethodPut, "/v1/put", "test", "Put"), func(w http.ResponseWriter, r *http.Request) error {
		n, err := io.Copy(io.Discard, r.Body)
		return httpkit.Reply(w, http.StatusOK, n, err)
	})
	ended := make(chan struct{}, 16)
	rt.Handle(httpkit.Op("flood", http.MethodGet, "/v1/flood", "test", "Flood"), func(w http.ResponseWriter, r *http.Request) error {
		defer func() { ended <- struct{}{} }()
		_, err := io.Copy(w, io.LimitReader(endless{}, flood))
		return err
	})
	rt.Handle(httpkit.Op("ended", http.MethodGet, "/v1/ended", "test", "Ended"), func(w http.ResponseWriter, r *http.Request) error {
		select {
		case <-ended:
			return httpkit.NoContent(w, nil)
		case <-r.Context().Done():
			return r.Context().Err()
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base, cancel := context.WithCancel(context.Background())
	hs, failed := rt.Serve(l, base)
	t.Cleanup(func() {
		cancel()
		hs.Close()
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// endless is a source of blanks.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// dial connects and sends text.
func dial(t *testing.T, address, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// short are bounds that a test reaches soon.
var short = httpkit.Bounds{HeaderTimeout: 300 * time.Millisecond, BodyStall: 300 * time.Millisecond, ResponseStall: 300 * time.Millisecond}

// TestStalledRequestsEnd sends parts of requests and then nothing. The server closes the
// connection by itself, after it has said what it waited for, where it can.
func TestStalledRequestsEnd(t *testing.T) {
	const host, ok = "Host: localhost\r\n", "Authorization: Bearer secret\r\n"
	for _, test := range []struct {
		name, sent string
		want       string // in the response, if there is one
	}{
		{"nothing", "", ""},
		{"half a line", "GET /v1/he", ""},
		{"half a header", "GET /page HTTP/1.1\r\n" + host + "X-Slow: ", ""},
		{"half a handshake", "GET /v1/ws HTTP/1.1\r\n" + host + "Connection: Upgrade\r\nUpgrade: websocket\r\n", ""},
		{"a body without a token", "POST /v1/greet HTTP/1.1\r\n" + host + "Content-Length: 100\r\n\r\n{", "401 Unauthorized"},
		{"a body for a path that is not there", "POST /nowhere HTTP/1.1\r\n" + host + "Content-Length: 100\r\n\r\n{", "404 Not Found"},
		{"a body of a preflight", "OPTIONS /v1/greet HTTP/1.1\r\n" + host + "Content-Length: 100\r\n\r\n{", "200 OK"},
		{"a long body without a token", "PUT /v1/put HTTP/1.1\r\n" + host + "Content-Length: 999999999\r\n\r\n{", "401 Unauthorized"},
		{"chunks without a token", "PUT /v1/put HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "401 Unauthorized"},
		{"a body that waits for leave", "PUT /v1/put HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", "401 Unauthorized"},
		{"a body", "PUT /v1/put HTTP/1.1\r\n" + host + ok + "Content-Length: 100\r\n\r\n{", "bodyStallMs"},
		{"chunks", "PUT /v1/put HTTP/1.1\r\n" + host + ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "bodyStallMs"},
		{"a body of a typed route", "POST /v1/greet HTTP/1.1\r\n" + host + ok + "Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{", "bodyStallMs"},
		{"a body that nobody wants", "GET /v1/fail HTTP/1.1\r\n" + host + ok + "Content-Length: 90\r\n\r\n{", "500 Internal"},
		{"the next request of a stranger", "GET /page HTTP/1.1\r\n" + host + "\r\n", "a page"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, httpkit.Config{Token: "secret", Bounds: short})
			c := dial(t, address, test.sent)
			c.SetReadDeadline(time.Now().Add(testkit.Patience))
			response, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection stays open")
			}
			if !strings.Contains(string(response), test.want) {
				t.Errorf("response %q, want %q", response, test.want)
			}
		})
	}
}

// TestSlowBodyThatMovesPasses takes several times what a body that stands still may take.
func TestSlowBodyThatMovesPasses(t *testing.T) {
	bounds := httpkit.Bounds{HeaderTimeout: 2 * time.Second, BodyStall: 2 * time.Second}
	for name, header := range map[string]string{"length": "Content-Length: 12", "chunks": "Transfer-Encoding: chunked"} {
		for _, path := range []string{"/v1/put", "/v1/greet"} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				address := serve(t, httpkit.Config{Bounds: bounds})
				method := map[string]string{"/v1/put": "PUT", "/v1/greet": "POST"}[path]
				c := dial(t, address, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+header+"\r\n\r\n")
				tick := time.NewTicker(bounds.BodyStall / 5)
				defer tick.Stop()
				for _, b := range `{"a":123456}` {
					<-tick.C
					if name == "chunks" {
						fmt.Fprintf(c, "1\r\n%c\r\n", b)
					} else {
						fmt.Fprintf(c, "%c", b)
					}
				}
				if name == "chunks" {
					io.WriteString(c, "0\r\n\r\n")
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if want := map[string]int{"/v1/put": 200, "/v1/greet": 422}[path]; resp.StatusCode != want {
					t.Errorf("status %d, want %d", resp.StatusCode, want)
				}
				// The connection waits for the next request longer than for a part of a body.
				for range 6 {
					<-tick.C
				}
				io.WriteString(c, "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
				if resp, err = http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
					t.Errorf("the next request: %v, %v", resp, err)
				}
			})
		}
	}
}

// TestRefusalEndsTheConnection looks at whether a response says that the connection ends.
func TestRefusalEndsTheConnection(t *testing.T) {
	address := serve(t, httpkit.Config{Token: "secret", Bounds: short})
	const ok = "Authorization: Bearer secret\r\n"
	for _, test := range []struct {
		name, request string
		status        int
		closes        bool
	}{
		{"unread body", "PUT /v1/put HTTP/1.1\r\nContent-Length: 900\r\n", 401, true},
		{"unread body, wrong method", "DELETE /v1/put HTTP/1.1\r\n" + ok + "Content-Length: 900\r\n", 405, true},
		{"unread body, wrong query", "PUT /v1/put?a=1&a=2 HTTP/1.1\r\n" + ok + "Content-Length: 900\r\n", 400, true},
		{"body over the limit", "POST /v1/greet HTTP/1.1\r\n" + ok + "Content-Type: application/json\r\nContent-Length: 900\r\n", 413, true},
		{"no token", "GET /v1/fail HTTP/1.1\r\n", 401, true},
		{"no body", "GET /v1/nowhere HTTP/1.1\r\n" + ok, 404, false},
		{"failure", "GET /v1/fail HTTP/1.1\r\n" + ok, 500, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := ""
			if strings.Contains(test.request, "Content-Length") {
				body = strings.Repeat("x", 500) // 400 are missing
			}
			c := dial(t, address, test.request+"Host: localhost\r\n\r\n"+body)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status || resp.Close != test.closes {
				t.Errorf("status %d, closes %v; want %d, %v", resp.StatusCode, resp.Close, test.status, test.closes)
			}
		})
	}
}

// TestReaderThatStallsEnds asks for more than the buffers between take, and reads
// nothing, or slowly.
func TestReaderThatStallsEnds(t *testing.T) {
	bounds := httpkit.Bounds{ResponseStall: 1500 * time.Millisecond}
	address := serve(t, httpkit.Config{Bounds: bounds})
	dial(t, address, "GET /v1/flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
	resp, err := http.Get("http://" + address + "/v1/ended")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	slow := dial(t, address, "GET /v1/flood HTTP/1.0\r\nHost: localhost\r\n\r\n")
	tick := time.NewTicker(bounds.ResponseStall / 5)
	defer tick.Stop()
	part, read := make([]byte, flood/12), 0
	for {
		n, err := io.ReadFull(slow, part)
		read += n
		if err != nil {
			break
		}
		<-tick.C
	}
	if read < flood {
		t.Errorf("a slow reader has %d of %d bytes", read, flood)
	}
}

// TestConnectionsOverTheLimit opens more connections than there may be.
func TestConnectionsOverTheLimit(t *testing.T) {
	bounds := httpkit.Bounds{MaxConnections: 4}
	address := serve(t, httpkit.Config{Bounds: bounds})
	const request = "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var held []net.Conn
	for range bounds.MaxConnections {
		c := dial(t, address, request)
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Fatalf("within the limit: %v, %v", resp, err)
		}
		held = append(held, c)
	}
	for _, sent := range []string{request, "", "GARBAGE\r\n\r\n"} {
		c := dial(t, address, sent)
		response, _ := io.ReadAll(c)
		for _, part := range []string{"HTTP/1.1 503", `"code":"limit_exceeded"`, `"limit":"maxHttpConnections"`, "Connection: close"} {
			if !bytes.Contains(response, []byte(part)) {
				t.Errorf("%s is not in %s", part, response)
			}
		}
	}
	held[0].Close()
	testkit.Await(t, "room for a connection", func() bool {
		resp, err := http.Get("http://" + address + "/page")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	http.DefaultClient.CloseIdleConnections()
}

// TestManyStrangersDoNotStay stalls many bodies without a token at once.
func TestManyStrangersDoNotStay(t *testing.T) {
	address := serve(t, httpkit.Config{Token: "secret", Bounds: httpkit.Bounds{HeaderTimeout: time.Minute, BodyStall: time.Minute}})
	var all sync.WaitGroup
	for i := range 300 {
		body := []string{"Content-Length: 10", "Content-Length: 1000000000", "Transfer-Encoding: chunked"}[i%3]
		c := dial(t, address, "POST /v1/greet HTTP/1.1\r\nHost: localhost\r\n"+body+"\r\n\r\n")
		all.Go(func() {
			c.SetReadDeadline(time.Now().Add(testkit.Patience / 2))
			if response, err := io.ReadAll(c); !bytes.Contains(response, []byte("401")) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("response %q, %v", response, err)
			}
		})
	}
	all.Wait()
}

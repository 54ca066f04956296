package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func event(id int, data string) string {
	return fmt.Sprintf("event: message\nid: %d\ndata: %s\n\n", id, data)
}

func TestEventCounter(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for _, test := range []struct {
		name   string
		stream string
		want   eventCounter
	}{
		{"nothing", "", eventCounter{}},
		{"heartbeats only", ": heartbeat\n\n:\n\n", eventCounter{}},
		{"in order", event(1, "abc") + ": heartbeat\n\n" + event(2, "de"), eventCounter{events: 2, first: 1, last: 2, bytes: 5}},
		{"from the middle", event(7, "a") + event(8, "b"), eventCounter{events: 2, first: 7, last: 8, bytes: 2}},
		{"a gap", event(1, "a") + event(5, "b") + event(6, "c"), eventCounter{events: 3, first: 1, last: 6, skipped: 3, bytes: 3}},
		{"the same again", event(1, "a") + event(2, "b") + event(2, "b") + event(1, "a") + event(3, "c"), eventCounter{events: 5, first: 1, last: 3, repeated: 2, bytes: 5}},
		{"no ids", "data: a\n\ndata: b\n\n", eventCounter{events: 2, bytes: 2}},
		{"longer than the buffer", event(1, long) + event(2, "b"), eventCounter{events: 2, first: 1, last: 2, bytes: 5001}},
		{"carriage returns", "id: 4\r\ndata: abc\r\n\r\n", eventCounter{events: 1, first: 4, last: 4, bytes: 3}},
		{"cut off", event(1, "a") + "event: message\nid: 2\ndata: b", eventCounter{events: 1, first: 1, last: 2, skipped: 0, bytes: 1}},
	} {
		for _, whole := range []bool{true, false} {
			var r = bufio.NewReaderSize(strings.NewReader(test.stream), 64)
			if !whole {
				r = bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(test.stream)), 64)
			}
			var got eventCounter
			if err := got.count(r, nil); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			if got != test.want {
				t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
			}
		}
	}
}

func TestEventCounterStops(t *testing.T) {
	stream := event(1, "a") + event(2, "last") + event(3, "never")
	var c eventCounter
	err := c.count(bufio.NewReader(strings.NewReader(stream)), func(data []byte) error {
		if string(data) == "last" {
			return errStop
		}
		return nil
	})
	if err != nil || c.events != 2 {
		t.Errorf("%d events, %v", c.events, err)
	}
	fault := errors.New("fault")
	if err := c.count(bufio.NewReader(strings.NewReader(stream)), func([]byte) error { return fault }); err != fault {
		t.Errorf("the callback's error became %v", err)
	}
	if err := c.count(bufio.NewReader(strings.NewReader("id: x\n")), nil); err == nil {
		t.Error("an id that is no number went unnoticed")
	}
	if err := c.count(bufio.NewReader(iotest.ErrReader(fault)), nil); err != fault {
		t.Errorf("the reader's error became %v", err)
	}
}

func TestDecodedLen(t *testing.T) {
	for entry, want := range map[string]int64{
		`{"sequence":1,"data":"","encoding":"base64"}`:         0,
		`{"sequence":1,"data":"YQ==","encoding":"base64"}`:     1,
		`{"sequence":1,"data":"YWI=","encoding":"base64"}`:     2,
		`{"sequence":1,"data":"YWJj","encoding":"base64"}`:     3,
		`{"sequence":1,"data":"YWJjYWJj","encoding":"base64"}`: 6,
		`{"id":"proc_1","status":"exited"}`:                    0,
	} {
		if got, err := decodedLen([]byte(entry)); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", entry, got, err, want)
		}
	}
	if _, err := decodedLen([]byte(`{"data":"YWJ"}`)); err == nil {
		t.Error("cut base64 went unnoticed")
	}
}

func TestConn(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/chunked":
			for i := range 3 {
				fmt.Fprintf(w, "part %d;", i)
				w.(http.Flusher).Flush()
			}
		case "/echo":
			if r.Header.Get("Content-Type") != "text/x-test" {
				w.WriteHeader(http.StatusUnsupportedMediaType)
			}
			fmt.Fprintf(w, "%s %d", r.Method, r.ContentLength)
		}
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().(*net.TCPAddr).String()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 { // all on one connection, more than once
		for _, test := range []struct {
			req    []byte
			status int
			body   string
		}{
			{request(addr, "GET", "/empty", "", nil), 204, ""},
			{request(addr, "GET", "/chunked", "", nil), 200, "part 0;part 1;part 2;"},
			{request(addr, "PUT", "/echo", "text/x-test", []byte("12345")), 200, "PUT 5"},
			{request(addr, "PUT", "/echo", "text/plain", []byte("12345")), 415, "PUT 5"},
		} {
			status, body, err := c.do(test.req)
			if err != nil || status != test.status || string(body) != test.body {
				t.Errorf("%d %q %v, want %d %q", status, body, err, test.status, test.body)
			}
		}
	}
	if _, err := c.expect(request(addr, "GET", "/empty", "", nil), 200); err == nil {
		t.Error("another status went unnoticed")
	}
}

func TestAgent(t *testing.T) {
	in := `{"id":"a","params":{"burst":2}}` + "\n" + `{"method":"note"}` + "\n" + `{"id":7}` + "\n"
	var out strings.Builder
	if err := runAgent(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat(string(burstFrame(fmt.Sprintf("bench-%d", os.Getpid()))), 2) +
		`{"jsonrpc":"2.0","id":"a","result":{"stopReason":"end_turn"}}` + "\n" +
		`{"jsonrpc":"2.0","id":7,"result":{"stopReason":"end_turn"}}` + "\n"
	if out.String() != want {
		t.Errorf("the agent said\n%s", out.String())
	}
	if len(burstFrame("bench-1")) != frameBytes {
		t.Errorf("a frame has %d bytes", len(burstFrame("bench-1")))
	}
}

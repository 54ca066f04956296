package sandboxagent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func readAll(t testing.TB, r *eventReader) (events []string, err error) {
	for {
		e, err := r.next()
		if err != nil {
			return events, err
		}
		events = append(events, e.name+"|"+e.id+"|"+string(e.data))
	}
}

func TestEventReader(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"one", "event: message\nid: 1\ndata: {}\n\n", []string{"message|1|{}"}},
		{"default name", "data: x\n\n", []string{"message||x"}},
		{"id stays", "id: 1\ndata: a\n\ndata: b\n\n", []string{"message|1|a", "message|1|b"}},
		{"name does not stay", "event: log\ndata: a\n\ndata: b\n\n", []string{"log||a", "message||b"}},
		{"event without data", "event: log\nid: 7\n\ndata: b\n\n", []string{"message|7|b"}},
		{"comments", ": heartbeat\n\n:\ndata: a\n: x\n\n", []string{"message||a"}},
		{"several lines", "data: a\ndata:\ndata: b\n\n", []string{"message||a\n\nb"}},
		{"no blank", "data:a\n\ndata:  b\n\n", []string{"message||a", "message|| b"}},
		{"carriage returns", "event: log\r\ndata: a\r\n\r\n", []string{"log||a"}},
		{"unknown field", "foo: bar\ndata: a\n\n", []string{"message||a"}},
		{"cut", "data: a\n\ndata: b\n", []string{"message||a"}},
		{"id with nul", "id: a\x00b\ndata: a\n\n", []string{"message||a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(tt.in), "by bytes": iotest.OneByteReader(strings.NewReader(tt.in))} {
				got, err := readAll(t, newEventReader(r, 100))
				if err != io.EOF || strings.Join(got, "\x01") != strings.Join(tt.want, "\x01") {
					t.Errorf("%s: got %q, %v; want %q", how, got, err, tt.want)
				}
			}
		})
	}
}

func TestEventReaderBounds(t *testing.T) {
	for name, in := range map[string]string{
		"line":  "data: " + strings.Repeat("x", 200_000) + "\n\n",
		"lines": strings.Repeat("data: "+strings.Repeat("x", 50)+"\n", 4000) + "\n",
		"never": strings.Repeat("x", 200_000),
	} {
		if _, err := readAll(t, newEventReader(strings.NewReader(in), 100_000)); !errors.Is(err, errEventTooLong) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	long := strings.Repeat("x", 99_000)
	got, err := readAll(t, newEventReader(strings.NewReader("data: "+long+"\n\ndata: y\n\n"), 100_000))
	if err != io.EOF || len(got) != 2 || got[0] != "message||"+long || got[1] != "message||y" {
		t.Errorf("got %d events, %v", len(got), err)
	}
	r := newEventReader(strings.NewReader("retry: 250\ndata: x\n\n"), 100)
	if readAll(t, r); r.retry != 250*time.Millisecond {
		t.Errorf("retry is %v", r.retry)
	}
}

func FuzzEventReader(f *testing.F) {
	f.Add("event: message\nid: 1\ndata: {}\n\n: x\n\ndata: y\r\n\r\n")
	f.Add("retry: 10\ndata\n\n\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		whole, err := readAll(t, newEventReader(strings.NewReader(in), 64))
		bytewise, err2 := readAll(t, newEventReader(iotest.OneByteReader(strings.NewReader(in)), 64))
		if strings.Join(whole, "\x01") != strings.Join(bytewise, "\x01") || err.Error() != err2.Error() {
			t.Errorf("%q, %v at once; %q, %v by bytes", whole, err, bytewise, err2)
		}
	})
}

// Each time a stream loses its server, and each time it finds it again, is told
// once, however often it tries in between.
func TestReconnectIsReported(t *testing.T) {
	answers := make(chan int, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := <-answers
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(status)
		if status == http.StatusOK {
			fmt.Fprint(w, "data: x\n\n")
		}
	}))
	defer server.Close()
	for _, status := range []int{200, 200, 503, 429, 503, 200, 504, 200, 404} {
		answers <- status
	}
	var told []string
	c := New(server.URL, WithReconnect(func(err error) {
		if err == nil {
			told = append(told, "back")
		} else {
			told = append(told, "lost")
		}
	}))
	f := &follower{c: c, request: request{path: "/stream"}, ended: func() bool { return false }}
	events := 0
	for _, err := range f.events(t.Context()) {
		if err == nil {
			events++
		}
	}
	if got := strings.Join(told, " "); got != "lost back lost back" || events != 4 {
		t.Errorf("told %q, with %d events", got, events)
	}
}

func BenchmarkEventReader(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		text.WriteString("event: message\nid: " + strconv.Itoa(i+1) + "\ndata: " + strings.Repeat("x", 250) + "\n\n")
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r := newEventReader(strings.NewReader(text.String()), maxEvent)
		for {
			if _, err := r.next(); err != nil {
				break
			}
		}
	}
}

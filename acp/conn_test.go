package acp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// link joins two connections; the returned function closes both and waits.
func link(t *testing.T, client, agent ConnOptions) (*Conn, *Conn) {
	t.Helper()
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	c, a := NewConn(cr, cw, client), NewConn(ar, aw, agent)
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(t.Context()) })
	wg.Go(func() { _ = a.Run(t.Context()) })
	t.Cleanup(func() {
		_ = cw.Close()
		_ = aw.Close()
		wg.Wait()
	})
	return c, a
}

func TestConnCall(t *testing.T) {
	c, _ := link(t, ConnOptions{}, ConnOptions{Handle: func(_ context.Context, in *Incoming) {
		switch in.Method {
		case "add":
			var p struct{ A, B int }
			if err := in.Decode(&p); err != nil {
				_ = in.Fail(err)
				return
			}
			_ = in.Reply(map[string]int{"sum": p.A + p.B})
		case "empty":
			_ = in.Reply(nil)
		default:
			_ = in.Fail(errors.New("boom"))
		}
	}})
	var sum struct{ Sum int }
	if err := c.Call(t.Context(), "add", map[string]int{"A": 2, "B": 3}, &sum); err != nil || sum.Sum != 5 {
		t.Errorf("sum %d, %v", sum.Sum, err)
	}
	if err := c.Call(t.Context(), "empty", nil, nil); err != nil {
		t.Error(err)
	}
	for method, code := range map[string]int{"other": CodeInternalError, "add": CodeInvalidParams} {
		var fault *RPCError
		if err := c.Call(t.Context(), method, map[string]string{"A": "x"}, nil); !errors.As(err, &fault) || fault.Code != code {
			t.Errorf("%s: %v, want code %d", method, err, code)
		}
	}
}

func TestConnWithoutHandler(t *testing.T) {
	c, _ := link(t, ConnOptions{}, ConnOptions{})
	var fault *RPCError
	if err := c.Call(t.Context(), "x", nil, nil); !errors.As(err, &fault) || fault.Code != CodeMethodNotFound {
		t.Errorf("err = %v", err)
	}
}

// TestConnOrder expects what was sent before an answer to be handled before it.
func TestConnOrder(t *testing.T) {
	const n = 1000
	var got []string
	c, _ := link(t,
		ConnOptions{Handle: func(_ context.Context, in *Incoming) { got = append(got, in.Method) }},
		ConnOptions{Handle: func(_ context.Context, in *Incoming) {
			for i := range n {
				_ = in.conn.Queue(fmt.Appendf(nil, `{"method":"%d"}`, i))
			}
			_ = in.Reply(nil)
		}})
	if err := c.Call(t.Context(), "go", nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(got) != n {
		t.Fatalf("%d notifications before the answer, want %d", len(got), n)
	}
	for i, m := range got {
		if m != fmt.Sprint(i) {
			t.Fatalf("notification %d is %s", i, m)
		}
	}
}

func TestConnCallEnds(t *testing.T) {
	asked := make(chan struct{}, 2)
	c, _ := link(t, ConnOptions{}, ConnOptions{Handle: func(context.Context, *Incoming) { asked <- struct{}{} }})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := c.Call(ctx, "silence", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}

	in, out := io.Pipe()
	conn := NewConn(in, io.Discard, ConnOptions{})
	done := make(chan error, 1)
	go func() { done <- conn.Run(context.Background()) }()
	result := make(chan error, 1)
	go func() { result <- conn.Call(t.Context(), "x", nil, nil) }()
	_ = out.Close()
	for _, ch := range []chan error{done, result} {
		select {
		case err := <-ch:
			if err != nil && !errors.Is(err, ErrConnClosed) {
				t.Errorf("err = %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("still waiting after the input ended")
		}
	}
	if err := conn.Call(t.Context(), "x", nil, nil); !errors.Is(err, ErrConnClosed) {
		t.Errorf("call on a closed connection: %v", err)
	}
}

func TestConnLines(t *testing.T) {
	var seen []string
	var out bytes.Buffer
	long := `{"method":"` + strings.Repeat("x", 90_000) + `"}`
	input := "\n  \nnot json\r\n" + `{"method":"a"}` + "\r\n[1]\n" + long + "\n" + strings.Repeat("y", 200_000) + "\n" + `{"id":9,"result":1}` + "\n" + `{"method":"last"}`
	conn := NewConn(strings.NewReader(input), &out, ConnOptions{
		MaxLine: len(long),
		Handle: func(_ context.Context, in *Incoming) {
			seen = append(seen, fmt.Sprintf("%s %.9s %d", in.Kind, in.Method, len(in.Line)))
		},
		Invalid: func(line []byte, err error) { seen = append(seen, fmt.Sprintf("%.8s %d %v", line, len(line), err)) },
	})
	if err := conn.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("not json 8 expected null at offset 0|notification a 14|other  3|notification xxxxxxxxx %d|yyyyyyyy %d line too long|response  19|notification last 17",
		len(long), len(long))
	if got := strings.Join(seen, "|"); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func BenchmarkConnCall(b *testing.B) {
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	c := NewConn(cr, cw, ConnOptions{})
	a := NewConn(ar, aw, ConnOptions{Handle: func(_ context.Context, in *Incoming) { _ = in.Reply(nil) }})
	go func() { _ = c.Run(b.Context()) }()
	go func() { _ = a.Run(b.Context()) }()
	for b.Loop() {
		if err := c.Call(b.Context(), "x", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
	_ = cw.Close()
	_ = aw.Close()
}

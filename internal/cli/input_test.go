package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"golang.org/x/sys/unix"
)

// endOfFile is the key Ctrl-D.
const endOfFile = "\x04"

// keyboard is what a terminal of a test is typed at.
type keyboard struct {
	t   *testing.T
	tty *os.File
	in  *os.File // what the program reads

	mu     sync.Mutex
	screen bytes.Buffer
}

// newKeyboard returns the input of a terminal, and what types there.
func newKeyboard(t *testing.T) (*keyboard, *input) {
	t.Helper()
	tty, in, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	k := &keyboard{t: t, tty: tty, in: in}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4<<10)
		for {
			n, err := tty.Read(buf)
			k.mu.Lock()
			k.screen.Write(buf[:n])
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		tty.Close()
		<-done
	})
	return k, newInput(Environment{In: in, InTerminal: true})
}

// types returns when the terminal has taken the text, which it does some time
// after it was written.
func (k *keyboard) types(text string) {
	k.t.Helper()
	k.mu.Lock()
	before := k.screen.Len()
	k.mu.Unlock()
	if _, err := k.tty.WriteString(text); err != nil {
		k.t.Fatal(err)
	}
	want := len(strings.NewReplacer("\r", "\r\n", "\x7f", "\b \b", endOfFile, "").Replace(text))
	if strings.HasSuffix(text, endOfFile) { // is not echoed
		fds := []unix.PollFd{{Fd: int32(k.in.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(time.Minute/time.Millisecond)); n != 1 {
			k.t.Fatalf("the terminal has no end of the input: %v", err)
		}
	}
	testkit.Await(k.t, fmt.Sprintf("the terminal to take %q", text), func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.screen.Len()-before >= want
	})
}

func TestInputOfATerminal(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after string
		want          []typed
	}{
		{"a line typed after", "", "y\r", []typed{{text: "y"}}},
		{"a line typed before", "y\r", "n\r", []typed{{text: "y", stale: typedBefore}, {text: "n"}}},
		{"lines typed before", "y\r\rn\r", "a\r", []typed{{text: "y", stale: typedBefore}, {stale: typedBefore}, {text: "n", stale: typedBefore}, {text: "a"}}},
		{"a line begun before", "sa", "y\r", []typed{{begun: "sa", text: "y", stale: typedBefore}}},
		{"a reply that lacks its end", "y", "\r", []typed{{begun: "y", stale: typedBefore}}},
		{"only space begun before", " ", "y\r", []typed{{begun: " ", text: "y", stale: typedBefore}}},
		{"a line and the beginning of one", "y\rye", "s\r", []typed{{text: "y", stale: typedBefore}, {begun: "ye", text: "s", stale: typedBefore}}},
		{"a line begun before, and another one", "wor", "d\r", []typed{{begun: "wor", text: "d", stale: typedBefore}}},
		{"words beyond ASCII", "né", "e\r", []typed{{begun: "né", text: "e", stale: typedBefore}}},
		{"a piece handed over before", "ye" + endOfFile, "s\r", []typed{{begun: "ye", text: "s", stale: typedBefore}}},
		{"a piece handed over after", "", "ye" + endOfFile + "s\r", []typed{{text: "yes"}}},
		{"the end typed before", endOfFile, "y\r", []typed{{end: true, stale: typedBefore}, {text: "y"}}},
		{"the end typed after", "", endOfFile, []typed{{end: true}}},
		{"a key erased before", "yx\x7f\x7f", "n\r", []typed{{text: "n"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, in := newKeyboard(t)
			k.types(test.before)
			shown := 0
			in.show(func(early bool) {
				shown++
				if stale := test.want[0].stale != ""; early != stale && shown == 1 {
					t.Errorf("early is %v, want %v", early, stale)
				}
			})
			k.types(test.after)
			for i, want := range test.want {
				got, err := in.next(t.Context())
				if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(typed{})) {
					t.Errorf("line %d is %+v, %v, want %+v", i+1, got, err, want)
				}
			}
		})
	}
}

func TestInputThatSomebodyReadsBeforeTheRequest(t *testing.T) {
	k, in := newKeyboard(t)
	ready := in.await()
	k.types("y\r")
	<-ready // the line is out of the terminal, and nobody took it
	in.show(func(bool) {})
	got, err := in.next(t.Context())
	if want := (typed{text: "y", stale: typedBefore}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestInputOfTwoRequests(t *testing.T) {
	k, in := newKeyboard(t)
	k.types("a")
	in.show(func(bool) {})
	k.types("b")
	in.show(func(bool) {})
	k.types("c\r")
	got, err := in.next(t.Context())
	if want := (typed{begun: "ab", text: "c", stale: typedBefore}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	k.types("y\r")
	if got, err := in.next(t.Context()); err != nil || got != (typed{text: "y"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestInputThatWasPasted(t *testing.T) {
	for _, test := range []struct {
		name, text string
		rest       []typed
	}{
		{"lines", "fix this\ry\r", []typed{{text: "y", stale: pastedAlong}}},
		{"a line and a piece", "y\rthanks", []typed{{begun: "thanks", stale: pastedAlong}}},
		{"a reply twice", "y\ry\r", []typed{{text: "y", stale: pastedAlong}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, in := newKeyboard(t)
			in.show(func(bool) {})
			k.types(test.text)
			if got, err := in.next(t.Context()); err != nil || got.stale != "" {
				t.Fatalf("got %+v, %v", got, err)
			}
			if !in.followed() {
				t.Fatal("no rest")
			}
			if test.rest[0].begun != "" {
				k.types("\r")
			}
			for i, want := range test.rest {
				got, err := in.next(t.Context())
				if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(typed{})) {
					t.Errorf("line %d is %+v, %v, want %+v", i+1, got, err, want)
				}
			}
		})
	}
}

func TestInputIsDropped(t *testing.T) {
	k, in := newKeyboard(t)
	k.types("y\rye")
	in.show(func(bool) { in.drop() })
	k.types("s\r")
	got, err := in.next(t.Context())
	if want := (typed{begun: "ye", text: "s", stale: typedBefore}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestInputOfAHeldTerminalIsStale(t *testing.T) {
	k, in := newKeyboard(t)
	draws := 0
	in.show(func(bool) {
		if draws++; draws == 1 {
			k.types("y\r") // while the request is on its way to the screen
			time.Sleep(slowDraw)
		}
	})
	if got, err := in.next(t.Context()); err != nil || got.stale != typedBefore || draws < 2 {
		t.Errorf("got %+v, %v after %d draws", got, err, draws)
	}
}

func TestInputOfAPipe(t *testing.T) {
	in := newInput(Environment{In: strings.NewReader("one\n\ntwo\r\nthree")})
	in.show(func(early bool) {
		if early {
			t.Error("early")
		}
	})
	for _, want := range []typed{{text: "one"}, {}, {text: "two\r"}, {text: "three"}, {end: true}, {end: true}} {
		got, err := in.next(t.Context())
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if in.followed() {
			t.Error("lines of a pipe are not pasted")
		}
	}
}

func TestInputEndsWithItsContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	in := newInput(Environment{In: r})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := in.next(ctx); err == nil {
		t.Errorf("got %+v", got)
	}
}

package process

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of an earlier server from coming back. Their
// numbers are those of the list of these faults.

// view reads a terminal to its end.
func view(t *testing.T, v *Viewer) (data []byte, gaps int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		screen, err := v.Next(ctx)
		if err == io.EOF {
			return data, gaps
		}
		if err != nil {
			t.Fatal(err)
		}
		if screen.Gap {
			gaps++
		}
		data = append(data, screen.Data...)
	}
}

func TestViewersLoseNothing(t *testing.T) {
	s := newSupervisor(t, Limits{})
	req := script(`stty raw; read go; head -c 3000000 /dev/zero | tr '\0' x; echo end`)
	req.TTY = true
	id := create(t, s, req)
	var viewers []*Viewer
	for range 3 {
		v, err := s.View(id, nil)
		if err != nil {
			t.Fatal(err)
		}
		viewers = append(viewers, v)
	}
	if _, err := s.Input(t.Context(), id, []byte("go\n")); err != nil {
		t.Fatal(err)
	}
	whole, gaps := view(t, viewers[0]) // the others read nothing meanwhile
	if !bytes.HasSuffix(whole, []byte("xend\n")) || bytes.Count(whole, []byte("x")) != 3000000 || gaps != 0 {
		t.Errorf("viewer got %d bytes, %d gaps", len(whole), gaps)
	}
	for _, v := range viewers[1:] {
		if got, gaps := view(t, v); !bytes.Equal(got, whole) || gaps != 0 {
			t.Errorf("slow viewer got %d of %d bytes, %d gaps", len(got), len(whole), gaps)
		}
	}
	// Attach again in the middle: the same bytes from there.
	all, err := s.View(id, ptr(uint64(0)))
	if err != nil {
		t.Fatal(err)
	}
	replay, _ := view(t, all)
	v, err := s.View(id, ptr(uint64(len(replay)-100)))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := view(t, v); !bytes.Equal(got, replay[len(replay)-100:]) {
		t.Errorf("replay from an offset = %q", got)
	}
	if exit := v.Exit(); exit.Code == nil || *exit.Code != 0 {
		t.Errorf("exit = %+v", exit)
	}
	// What is no longer kept is a gap, not silence.
	if _, err := s.SetConfig(api.ProcessConfigPatch{MaxLogBytesPerProcess: ptr(int64(50_000))}); err != nil {
		t.Fatal(err)
	}
	if v, err = s.View(id, ptr(uint64(0))); err != nil {
		t.Fatal(err)
	}
	if got, gaps := view(t, v); gaps != 1 || len(got) > 50_000 || !bytes.HasSuffix(replay, got) {
		t.Errorf("after the trim: %d bytes, %d gaps", len(got), gaps)
	}
}

func TestTerminalResize(t *testing.T) {
	s := newSupervisor(t, Limits{})
	req := script(`echo "$TERM"; stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done`)
	req.TTY = true
	id := create(t, s, req)
	if text, _ := follow(t, s, id, "ready"); !strings.Contains(text, "xterm-256color\r\n24 80\r\n") {
		t.Errorf("log = %q", text)
	}
	if err := s.Resize(id, api.TerminalSize{Cols: 132, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	if text, _ := follow(t, s, id, ""); !strings.Contains(text, "50 132\r\n") {
		t.Errorf("log = %q", text)
	}
	wantCode(t, s.Resize(id, api.TerminalSize{}), api.CodeTerminalClosed, 409)
	piped := create(t, s, script(`sleep 1000`))
	wantCode(t, s.Resize(piped, api.TerminalSize{}), api.CodeNotATerminal, 409)
	_, err := s.View(piped, nil)
	wantCode(t, err, api.CodeNotATerminal, 409)

	cat := create(t, s, api.ProcessCreateRequest{Command: "cat", TTY: true})
	if err := s.CloseStdin(t.Context(), cat); err != nil {
		t.Error(err)
	}
	follow(t, s, cat, "") // it ends
}

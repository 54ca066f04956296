package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of an earlier server from coming back. Their
// numbers are those of the list of these faults.

func runScript(text string) api.ProcessRunRequest {
	return api.ProcessRunRequest{Command: "/bin/sh", Args: []string{"-c", text}}
}

func TestFault19SignalsReachGrandchildren(t *testing.T) {
	s := newSupervisor(t, Limits{})
	id := create(t, s, script(`sleep 1077 & echo $!; sleep 1078`))
	text, _ := follow(t, s, id, "\n")
	info, err := s.Stop(t.Context(), id, "", time.Minute)
	if err != nil || info.ExitSignal != "SIGTERM" {
		t.Errorf("stop: %+v, %v", info, err)
	}
	eventually(t, "grandchild is gone", func() bool { return !alive(pidOf(t, text)) })

	req := runScript(`sleep 1077 & echo $!; sleep 1078`)
	req.TimeoutMs = ptr(int64(200))
	result, err := s.Run(t.Context(), req)
	if err != nil || !result.TimedOut {
		t.Fatalf("run: %+v, %v", result, err)
	}
	eventually(t, "grandchild of run is gone", func() bool { return !alive(pidOf(t, result.Stdout)) })
}

func TestFault20RunDoesNotWaitForPipes(t *testing.T) {
	s := newSupervisor(t, Limits{})
	t.Run("timeout", func(t *testing.T) {
		req := runScript(`echo begin; sleep 1000 & sleep 1000`)
		req.Timeout = ptr(0.2)
		result, err := s.Run(t.Context(), req)
		if err != nil || !result.TimedOut || result.ExitCode != nil || result.Stdout != "begin\n" {
			t.Errorf("run: %+v, %v", result, err)
		}
	})
	t.Run("background", func(t *testing.T) {
		result, err := s.Run(t.Context(), runScript(`sleep 1000 & echo done`))
		if err != nil || result.TimedOut || result.ExitCode == nil || *result.ExitCode != 0 || result.Stdout != "done\n" {
			t.Errorf("run: %+v, %v", result, err)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		file := t.TempDir() + "/pid"
		failed := make(chan error, 1)
		go func() {
			_, err := s.Run(ctx, runScript(`sleep 1000 & echo $! >`+file+`; wait`))
			failed <- err
		}()
		var pid int
		eventually(t, "grandchild runs", func() bool {
			result, err := s.Run(t.Context(), api.ProcessRunRequest{Command: "cat", Args: []string{file}})
			if err != nil || !strings.HasSuffix(result.Stdout, "\n") {
				return false
			}
			pid = pidOf(t, result.Stdout)
			return true
		})
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		eventually(t, "grandchild is gone", func() bool { return !alive(pid) })
	})
}

func TestFault21FollowEnds(t *testing.T) {
	s := newSupervisor(t, Limits{Drain: 10 * time.Millisecond})
	for name, text := range map[string]string{
		"at once":              `echo done`,
		"grandchild holds log": `sleep 1000 & echo done`,
	} {
		t.Run(name, func(t *testing.T) {
			id := create(t, s, script(text))
			if got, _ := follow(t, s, id, ""); got != "done\n" { // fails if it does not end
				t.Errorf("log = %q", got)
			}
			if info, err := s.Get(id); err != nil || info.Status != api.ProcessExited {
				t.Errorf("followed to the end, but %+v, %v", info, err)
			}
		})
	}
}

func TestFault22FinishedAreReaped(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		s := newSupervisor(t, Limits{MaxFinished: 2, Drain: time.Millisecond})
		background := create(t, s, script(`sleep 1000 & echo left`))
		follow(t, s, background, "")
		var last string
		for range 5 {
			last = create(t, s, script(`head -c 9000 /dev/zero`))
			follow(t, s, last, "")
			p, err := s.find(last)
			if err != nil {
				t.Fatal(err)
			}
			<-p.ended
		}
		eventually(t, "old ones are dropped", func() bool {
			list, err := s.List("")
			return err == nil && len(list.Processes) == 2 && s.logBytes.Load() < 2*9500
		})
		for _, id := range []string{background, last} { // what runs on, and the newest
			if _, err := s.Get(id); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("age", func(t *testing.T) {
		s := newSupervisor(t, Limits{FinishedAge: time.Nanosecond})
		id := create(t, s, script(`true`))
		running := create(t, s, script(`sleep 1000`))
		eventually(t, "old one is dropped", func() bool {
			if _, err := s.List(""); err != nil {
				t.Fatal(err)
			}
			_, err := s.Get(id)
			return code(err) == api.CodeProcessNotFound
		})
		if _, err := s.Get(running); err != nil {
			t.Error(err)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		s := newSupervisor(t, Limits{MaxTotalLogBytes: 1 << 20})
		for range 4 {
			id := create(t, s, script(`head -c 700000 /dev/zero`))
			follow(t, s, id, "")
			if held := s.logBytes.Load(); held > 1<<20+2*readSize {
				t.Errorf("logs hold %d bytes", held)
			}
		}
	})
}

func TestFault23LogTellsWhatIsMissing(t *testing.T) {
	t.Run("old entries", func(t *testing.T) {
		l := newLog(100)
		for i := range 8 {
			l.append(api.LogStdout, bytes.Repeat([]byte{byte('1' + i)}, 31))
		}
		f := l.follow(api.LogCombined, 2)
		batch, err := f.Next(t.Context())
		if err != nil || batch.Gap == nil || *batch.Gap != (api.LogGap{From: 3, To: 5}) || len(batch.Entries) != 3 || batch.Entries[0].Sequence != 6 {
			t.Errorf("batch = %+v, gap %+v, %v", batch, batch.Gap, err)
		}
	})
	t.Run("chunk larger than the log", func(t *testing.T) {
		l := newLog(10)
		l.append(api.LogPTY, []byte("0123456789abcdef"))
		f := l.follow(api.LogPTY, 0)
		batch, err := f.Next(t.Context())
		if err != nil || batch.Gap != nil || len(batch.Entries) != 1 || string(batch.Entries[0].Data) != "6789abcdef" || batch.Entries[0].SkippedBytes != 6 {
			t.Errorf("batch = %+v, %v", batch, err)
		}
	})
	t.Run("pages", func(t *testing.T) {
		s := newSupervisor(t, Limits{})
		id := create(t, s, script(`for i in 1 2 3 4 5; do echo $i; sleep 0.02; done`))
		whole, _ := follow(t, s, id, "")
		var got strings.Builder
		var since uint64
		for more := true; more; {
			logs, err := s.Logs(id, LogQuery{Since: since, Limit: 1})
			if err != nil || len(logs.Entries) != 1 {
				t.Fatalf("logs = %+v, %v", logs, err)
			}
			got.Write(logs.Entries[0].Data)
			since, more = logs.Entries[0].Sequence, logs.More
		}
		if got.String() != whole || whole != "1\n2\n3\n4\n5\n" {
			t.Errorf("pages give %q, the whole is %q", got.String(), whole)
		}
	})
}

func TestFault24OrderSignalAndTerminalEnd(t *testing.T) {
	s := newSupervisor(t, Limits{})
	for range 11 {
		create(t, s, script(`exit`))
	}
	list, err := s.List(api.OwnerUser)
	if err != nil || len(list.Processes) != 11 || list.Processes[1].ID != "proc_2" || list.Processes[10].ID != "proc_11" {
		t.Errorf("list = %+v, %v", list, err)
	}
	_, err = s.List("zzz")
	wantCode(t, err, api.CodeInvalidQuery, 400)

	req := script(`echo bye; kill -9 $$`)
	req.TTY = true
	id := create(t, s, req)
	if text, _ := follow(t, s, id, ""); text != "bye\r\n" {
		t.Errorf("terminal log = %q", text)
	}
	if info, err := s.Get(id); err != nil || info.ExitSignal != "SIGKILL" || info.ExitCode != nil {
		t.Errorf("info = %+v, %v", info, err)
	}
}

func TestFault25StdinClosesAndTimesOut(t *testing.T) {
	s := newSupervisor(t, Limits{InputTimeout: 50 * time.Millisecond})
	id := create(t, s, script(`cat; echo end`))
	if err := s.CloseStdin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if text, _ := follow(t, s, id, ""); text != "end\n" {
		t.Errorf("log = %q", text)
	}
	deaf := create(t, s, api.ProcessCreateRequest{Command: "sleep", Args: []string{"1000"}})
	var err error
	written := 0
	for range 3 {
		var n int
		if n, err = s.Input(t.Context(), deaf, make([]byte, 64<<10)); err != nil {
			break
		}
		written += n
	}
	wantCode(t, err, api.CodeInputTimeout, 504)
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Details["bytesWritten"] != 0 || written != 64<<10 {
		t.Errorf("%d bytes, then %+v", written, problem)
	}
	_, err = s.Input(t.Context(), deaf, make([]byte, 64<<10+1))
	wantCode(t, err, api.CodeLimitExceeded, 413)
	if err == nil || err.Error() != "invalid request: input payload exceeds maxInputBytesPerRequest (65536)" {
		t.Errorf("error = %v", err)
	}
	if err := s.CloseStdin(t.Context(), deaf); err != nil {
		t.Error(err)
	}
	_, err = s.Input(t.Context(), deaf, nil)
	wantCode(t, err, api.CodeStdinClosed, 409)

	closed := create(t, s, script(`exec 0<&-; echo ready; sleep 1000`))
	follow(t, s, closed, "ready")
	_, err = s.Input(t.Context(), closed, []byte("x"))
	wantCode(t, err, api.CodeInputFailed, 502)

	for _, encoding := range []string{"hex", "BASE64"} {
		_, err := DecodeInput("", encoding, "text")
		wantCode(t, err, api.CodeInvalidInput, 400)
	}
	_, err = DecodeInput("!", "", "base64")
	wantCode(t, err, api.CodeInvalidInput, 400)
}

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

func TestFault26ViewersLoseNothing(t *testing.T) {
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

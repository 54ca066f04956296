package sandboxagent_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

func newSession(t testing.TB, s *testServer, opts sandboxagent.CreateSessionOptions) *sandboxagent.Session {
	t.Helper()
	session, err := s.CreateSession(testContext(t), "mock", opts)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestPromptText(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	if session.CWD() != s.dir {
		t.Errorf("session works in %s, want %s", session.CWD(), s.dir)
	}
	for range 3 {
		turn, err := session.Prompt(testContext(t), sandboxagent.Text("/echo hello there"))
		if err != nil {
			t.Fatal(err)
		}
		if turn.Text != "hello there" || turn.StopReason != acp.StopEndTurn || len(turn.Updates) == 0 {
			t.Errorf("turn is %+v", turn)
		}
	}
}

func TestPromptChangesFileAfterPermission(t *testing.T) {
	s := newServer(t)
	asked := 0
	session := newSession(t, s, sandboxagent.CreateSessionOptions{
		OnPermission: func(ctx context.Context, req *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
			asked++
			return sandboxagent.Once, nil
		},
	})
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("create a file called hello.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if asked == 0 {
		t.Error("no permission was asked")
	}
	if _, err := os.Stat(filepath.Join(s.dir, "hello.txt")); err != nil {
		t.Error(err)
	}
	if len(turn.ToolCalls) == 0 {
		t.Fatal("no tool call")
	}
	for _, call := range turn.ToolCalls {
		if call.Status != acp.StatusCompleted || call.Title == "" {
			t.Errorf("tool call is %+v", call)
		}
	}
}

func TestPermissionPolicies(t *testing.T) {
	tests := []struct {
		name    string
		handler sandboxagent.PermissionHandler
		written bool
		fails   bool
	}{
		{"allow all", sandboxagent.AllowAll, true, false},
		{"allow kind", sandboxagent.AllowKinds(acp.ToolEdit), true, false},
		{"allow other kind", sandboxagent.AllowKinds(acp.ToolFetch), false, false},
		{"reject all", sandboxagent.RejectAll, false, false},
		{"none", nil, false, false},
		{"no reply", func(context.Context, *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
			return sandboxagent.NoReply, nil
		}, false, false},
		{"unknown option", func(context.Context, *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
			return "no-such-option", nil
		}, false, true},
		{"error", func(context.Context, *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
			return "", errors.New("boom")
		}, false, true},
		{"option id", func(_ context.Context, req *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
			option, _ := req.Option(acp.AllowOnce)
			return sandboxagent.Reply(option.OptionID), nil
		}, true, false},
	}
	s := newServer(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := string(rune('a'+i)) + ".txt"
			session := newSession(t, s, sandboxagent.CreateSessionOptions{OnPermission: tt.handler})
			turn, err := session.Prompt(testContext(t), sandboxagent.Text("create a file called "+name))
			if (err != nil) != tt.fails {
				t.Errorf("error is %v", err)
			}
			if turn == nil || turn.StopReason == "" {
				t.Errorf("turn is %+v", turn)
			}
			_, err = os.Stat(filepath.Join(s.dir, name))
			if written := err == nil; written != tt.written {
				t.Errorf("file was written: %v", written)
			}
		})
	}
}

func TestStreamAsksInTheLoop(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	var kinds []string
	var turn *sandboxagent.Turn
	for u, err := range session.Stream(testContext(t), sandboxagent.Text("create a file called hello.txt")) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, u.Kind)
		if u.Permission != nil {
			if err := u.Permission.Reply(sandboxagent.Once); err != nil {
				t.Error(err)
			}
			if u.Permission.Reply(sandboxagent.Once) == nil {
				t.Error("second reply is no error")
			}
		}
		if u.Turn != nil {
			turn = u.Turn
		}
	}
	if turn == nil || kinds[len(kinds)-1] != sandboxagent.UpdateTurnEnd {
		t.Fatalf("kinds are %v", kinds)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "hello.txt")); err != nil {
		t.Error(err)
	}
}

func TestStreamOrderAndCompleteness(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	const n = 20_000
	var text strings.Builder
	count := 0
	for u, err := range session.Stream(testContext(t), sandboxagent.Text("/burst 20000 200")) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Kind == acp.UpdateAgentMessage {
			count++
			text.WriteString(u.Content.Text)
		}
		if u.Turn != nil && u.Turn.Text != text.String() {
			t.Error("text of the turn is not that of its updates")
		}
	}
	if count != n {
		t.Errorf("got %d updates, want %d", count, n)
	}
}

func TestSessionBusy(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := session.Prompt(testContext(t), sandboxagent.Text("/silence")); err != nil {
			t.Error(err)
		}
	}()
	waitBusy(t, session)
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("/echo x")); !errors.Is(err, sandboxagent.ErrSessionBusy) {
		t.Errorf("second prompt: %v", err)
	}
	if err := session.Cancel(testContext(t)); err != nil {
		t.Error(err)
	}
	<-done
}

func TestLeavingTheLoopCancels(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	for _, prompt := range []string{"/burst 1000000", "/thought x", "/permission"} {
		for _, err := range session.Stream(testContext(t), sandboxagent.Text(prompt)) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		turn, err := session.Prompt(testContext(t), sandboxagent.Text("/echo again"))
		if err != nil || turn.Text != "again" || turn.StopReason != acp.StopEndTurn {
			t.Errorf("after leaving %s: %+v, %v", prompt, turn, err)
		}
	}
}

func TestCancel(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			turn, err := session.Prompt(ctx, sandboxagent.Text("/silence"))
			if !errors.Is(err, context.Canceled) || turn == nil || turn.StopReason != acp.StopCancelled {
				t.Errorf("got %+v, %v", turn, err)
			}
		}()
		waitBusy(t, session)
		cancel()
		<-done
	})
	t.Run("call", func(t *testing.T) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			turn, err := session.Prompt(testContext(t), sandboxagent.Text("/silence"))
			if err != nil || turn.StopReason != acp.StopCancelled {
				t.Errorf("got %+v, %v", turn, err)
			}
		}()
		waitBusy(t, session)
		if err := session.Cancel(testContext(t)); err != nil {
			t.Error(err)
		}
		<-done
	})
	t.Run("while asked", func(t *testing.T) {
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		asked := newSession(t, s, sandboxagent.CreateSessionOptions{
			OnPermission: func(ctx context.Context, _ *sandboxagent.PermissionRequest) (sandboxagent.Reply, error) {
				cancel()
				<-ctx.Done()
				return "", nil
			},
		})
		turn, err := asked.Prompt(ctx, sandboxagent.Text("/permission"))
		if !errors.Is(err, context.Canceled) || turn == nil || turn.StopReason != acp.StopCancelled {
			t.Errorf("got %+v, %v", turn, err)
		}
	})
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("/echo still here"))
	if err != nil || turn.Text != "still here" {
		t.Errorf("afterwards: %+v, %v", turn, err)
	}
}

// waitBusy returns when the session has a turn under way.
func waitBusy(t *testing.T, session *sandboxagent.Session) {
	t.Helper()
	ctx := testContext(t)
	for ctx.Err() == nil {
		if sandboxagent.Busy(session) {
			return
		}
	}
	t.Fatal("no turn began")
}

func TestAgentExit(t *testing.T) {
	told := make(lines, 16)
	s := newServer(t, sandboxagent.WithLogger(slog.New(slog.NewTextHandler(told, nil))))
	session := newSession(t, s, sandboxagent.CreateSessionOptions{Mode: "plan"})
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("/echo remember the number seven")); err != nil {
		t.Fatal(err)
	}
	_, err := session.Prompt(testContext(t), sandboxagent.Text("/crash 3"))
	var exited *sandboxagent.AgentExitedError
	if !errors.Is(err, sandboxagent.ErrAgentExited) || !errors.As(err, &exited) {
		t.Fatalf("error is %v", err)
	}
	if exited.Agent != "mock" || exited.ExitCode == nil || *exited.ExitCode != 3 {
		t.Errorf("error is %+v", exited)
	}
	id := session.ID()
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("what did I say"))
	if err != nil {
		t.Fatal(err)
	}
	if session.Restored() == "" || session.ID() != id || !strings.Contains(turn.Text, "seven") {
		t.Errorf("restored %q as %s, it said %q", session.Restored(), session.ID(), turn.Text)
	}
	if mode := session.Modes(); mode == nil || mode.CurrentModeID != "plan" {
		t.Errorf("mode is %+v", mode)
	}
	if line := <-told; !strings.Contains(line, "session is back") || !strings.Contains(line, id) {
		t.Errorf("the log tells %s", line)
	}
}

// lines are what a log says.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestResumeSession(t *testing.T) {
	s := newServer(t)
	first := newSession(t, s, sandboxagent.CreateSessionOptions{})
	if _, err := first.Prompt(testContext(t), sandboxagent.Text("/echo the word is swordfish")); err != nil {
		t.Fatal(err)
	}
	other := sandboxagent.New(s.BaseURL(), sandboxagent.WithToken(sandboxagent.Token(s.Client)))
	defer other.Close()
	session, err := other.ResumeSession(testContext(t), "mock", first.ID(), sandboxagent.ResumeSessionOptions{
		CreateSessionOptions: sandboxagent.CreateSessionOptions{CWD: s.dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("what did I say"))
	if err != nil || !strings.Contains(turn.Text, "swordfish") {
		t.Errorf("got %+v, %v", turn, err)
	}
	if session.ID() != first.ID() || session.Restored() == "" {
		t.Errorf("restored %q as %s", session.Restored(), session.ID())
	}

	t.Run("unknown", func(t *testing.T) {
		if _, err := other.ResumeSession(testContext(t), "mock", "nope", sandboxagent.ResumeSessionOptions{}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("replayed", func(t *testing.T) {
		session, err := other.ResumeSession(testContext(t), "mock", "nope", sandboxagent.ResumeSessionOptions{Transcript: first.Transcript()})
		if err != nil {
			t.Fatal(err)
		}
		if session.Restored() != sandboxagent.Replayed || session.ID() == "nope" {
			t.Errorf("restored %q as %s", session.Restored(), session.ID())
		}
		if _, err := session.Prompt(testContext(t), sandboxagent.Text("go on")); err != nil {
			t.Fatal(err)
		}
		turn, err := session.Prompt(testContext(t), sandboxagent.Text("what did I say"))
		if err != nil || !strings.Contains(turn.Text, "swordfish") {
			t.Errorf("got %+v, %v", turn, err)
		}
	})
}

func TestSettings(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{Model: "mock-fast", Mode: "plan", ThoughtLevel: "high"})
	value := func(category string) string {
		if o := acp.OptionOfCategory(session.ConfigOptions(), category); o != nil {
			return o.CurrentValue
		}
		return ""
	}
	if value("model") != "mock-fast" || value("mode") != "plan" || value("thought_level") != "high" || session.Modes().CurrentModeID != "plan" {
		t.Errorf("options are %+v, modes %+v", session.ConfigOptions(), session.Modes())
	}
	if err := session.SetMode(ctx, "normal"); err != nil || value("mode") != "normal" || session.Modes().CurrentModeID != "normal" {
		t.Errorf("mode is %s / %s, %v", value("mode"), session.Modes().CurrentModeID, err)
	}
	var unsupported *sandboxagent.UnsupportedValueError
	if err := session.SetModel(ctx, "nope"); !errors.As(err, &unsupported) || len(unsupported.Allowed) < 2 || !errors.Is(err, sandboxagent.ErrUnsupported) {
		t.Errorf("error is %v", err)
	}
	if err := session.SetMode(ctx, "nope"); !errors.As(err, &unsupported) || unsupported.Category != "mode" {
		t.Errorf("error is %v", err)
	}
	var option *sandboxagent.UnsupportedOptionError
	if err := session.SetConfigOption(ctx, "nope", "x"); !errors.As(err, &option) || len(option.Available) == 0 {
		t.Errorf("error is %v", err)
	}
	if err := session.SetConfigOption(ctx, " ", "x"); err == nil {
		t.Error("empty id is no error")
	}
	if _, err := s.CreateSession(ctx, "mock", sandboxagent.CreateSessionOptions{Model: "nope"}); !errors.As(err, &unsupported) {
		t.Errorf("error is %v", err)
	}
}

func TestRawSend(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	result, err := session.RawSend(testContext(t), "x/custom", map[string]any{"n": 1})
	if err != nil || !strings.Contains(string(result), session.ID()) {
		t.Errorf("got %s, %v", result, err)
	}
	if err := session.RawNotify(testContext(t), "x/note", nil); err != nil {
		t.Error(err)
	}
	if _, err := session.RawSend(testContext(t), acp.MethodSessionCancel, nil); err == nil {
		t.Error("cancel is no error")
	}
}

func TestPromptErrors(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s, sandboxagent.CreateSessionOptions{})
	var refused *sandboxagent.RPCError
	turn, err := session.Prompt(ctx, sandboxagent.Text("/error -32000 no key"))
	if !errors.As(err, &refused) || refused.Code != -32000 || turn == nil {
		t.Errorf("got %+v, %v", turn, err)
	}
	if _, err := session.Prompt(ctx); err == nil {
		t.Error("empty prompt is no error")
	}
	if err := session.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("/echo x")); !errors.Is(err, sandboxagent.ErrClosed) {
		t.Errorf("error is %v", err)
	}
	if _, err := s.CreateSession(ctx, "no-such-agent", sandboxagent.CreateSessionOptions{}); !errors.Is(err, sandboxagent.ErrUnsupportedAgent) {
		t.Errorf("error is %v", err)
	}
	other := newSession(t, s, sandboxagent.CreateSessionOptions{})
	if err := s.Client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := other.Prompt(ctx, sandboxagent.Text("/echo x")); !errors.Is(err, sandboxagent.ErrClosed) {
		t.Errorf("error is %v", err)
	}
	if _, err := s.Health(ctx); err != nil {
		t.Errorf("health after close: %v", err)
	}
}

package sandboxagent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Two clients answer the same question. One answer counts, and the other client
// learns whose it was.
func TestPermissionRace(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	turn := make(chan error, 1)
	go func() {
		_, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
		turn <- err
	}()
	waitInfo(t, session, func(info *api.Session) bool { return info.PendingPermissions == 1 })
	pending, err := session.Permissions(ctx)
	if err != nil || len(pending) != 1 {
		t.Fatalf("pending are %+v, %v", pending, err)
	}
	var unsupported *sandboxagent.UnsupportedReplyError
	if _, err := session.Reply(ctx, pending[0].ID, "maybe"); !errors.As(err, &unsupported) || len(unsupported.Available) == 0 {
		t.Errorf("reply that is not offered: %v", err)
	}
	errs := make(chan error, 2)
	for _, name := range []string{"ann", "bob"} {
		client := sandboxagent.New(s.BaseURL(), sandboxagent.WithToken(sandboxagent.Token(s.Client)), sandboxagent.WithClientName(name))
		defer client.Close()
		go func() {
			_, err := client.Session(session.ID).Reply(ctx, pending[0].ID, sandboxagent.Once)
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	var resolved *sandboxagent.PermissionResolvedError
	if first != nil || !errors.As(second, &resolved) || !errors.Is(second, sandboxagent.ErrPermissionResolved) {
		t.Fatalf("replies: %v and %v", first, second)
	}
	if resolved.By != "ann" && resolved.By != "bob" || resolved.Reply != "once" || time.Since(resolved.At) > time.Minute {
		t.Errorf("resolved is %+v", resolved)
	}
	if err := <-turn; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "hello.txt")); err != nil {
		t.Error(err)
	}
}

func TestPermissionRules(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	answering, stop := context.WithCancel(ctx)
	asked := 0
	answered := make(chan error, 1)
	go func() {
		answered <- session.ServePermissions(answering, func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
			asked++
			return sandboxagent.Always, nil
		})
	}()
	for range 2 {
		mustPrompt(t, session, "run touch ran.txt")
	}
	rules, err := session.PermissionRules(ctx)
	if err != nil || len(rules.Remembered) != 1 {
		t.Fatalf("rules are %+v, %v", rules, err)
	}
	if err := session.ForgetPermissionRule(ctx, rules.Remembered[0].ID); err != nil {
		t.Fatal(err)
	}
	mustPrompt(t, session, "run touch ran.txt")
	if err := session.ForgetPermissionRule(ctx, ""); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2: the second prompt was covered, and the third was not", asked)
	}
	if rules, err = session.PermissionRules(ctx); err != nil || len(rules.Remembered) != 0 {
		t.Errorf("rules are %+v, %v", rules, err)
	}
}

// A handler is registered in no time, and replies while a prompt runs.
func TestOnPermission(t *testing.T) {
	name := func(i int) string { return string(rune('a'+i)) + ".txt" }
	reply := func(r sandboxagent.Reply, err error) sandboxagent.PermissionHandler {
		return func(context.Context, api.Permission) (sandboxagent.Reply, error) { return r, err }
	}
	s := newServer(t)
	for i, tt := range []struct {
		name    string
		handler sandboxagent.PermissionHandler
		written bool
		fails   bool
	}{
		{"allow all", sandboxagent.AllowAll, true, false},
		{"allow kind", sandboxagent.AllowKinds(acp.ToolEdit), true, false},
		{"allow other kind", sandboxagent.AllowKinds(acp.ToolFetch), false, false},
		{"reject all", sandboxagent.RejectAll, false, false},
		{"cancel", reply(sandboxagent.Cancel, nil), false, false},
		{"unknown option", reply("no-such-option", nil), false, true},
		{"error", reply("", errors.New("boom")), false, true},
		{"option id", func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
			return sandboxagent.Reply(p.Options[0].OptionID), nil
		}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for j, register := range []func() *sandboxagent.Session{
				func() *sandboxagent.Session {
					return newSession(t, s.Client, sandboxagent.SessionOptions{OnPermission: tt.handler})
				},
				func() *sandboxagent.Session {
					session := s.Session(newSession(t, s.Client, sandboxagent.SessionOptions{}).ID)
					session.OnPermission(tt.handler)
					return session
				},
			} {
				file := name(2*i + j)
				turn, err := register().Prompt(testContext(t), sandboxagent.Text("create a file called "+file))
				if (err != nil) != tt.fails || turn == nil || turn.StopReason == "" {
					t.Errorf("turn is %+v, error %v", turn, err)
				}
				_, err = os.Stat(filepath.Join(s.dir, file))
				if written := err == nil; written != tt.written {
					t.Errorf("file was written: %v", written)
				}
			}
		})
	}
}

// A handler that another client forestalls is told so by its context, and a
// request that the policy decides is none of its business.
func TestOnPermissionIsNotNeeded(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	asked := make(chan string, 1)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{
		OnPermission: func(ctx context.Context, p api.Permission) (sandboxagent.Reply, error) {
			asked <- p.ID
			<-ctx.Done()
			return "", ctx.Err()
		},
	})
	ended := make(chan error, 1)
	go func() {
		_, err := session.Prompt(ctx, sandboxagent.Text("create a file called hello.txt"))
		ended <- err
	}()
	if _, err := s.Session(session.ID).Reply(ctx, <-asked, sandboxagent.Once); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("prompt: %v", err)
	}
	if _, err := session.Update(ctx, api.SessionPatch{Permissions: &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow)}}); err != nil {
		t.Fatal(err)
	}
	for u, err := range session.Stream(ctx, sandboxagent.Text("create a file called again.txt")) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Permission != nil {
			t.Errorf("asked for %+v", u.Permission)
		}
	}
	if len(asked) > 0 {
		t.Error("the handler was called")
	}
}

// Without a handler the loop replies itself.
func TestReplyInTheLoop(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	asked := 0
	for u, err := range session.Stream(ctx, sandboxagent.Text("create a file called hello.txt")) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Permission == nil {
			continue
		}
		asked++
		if len(u.Permission.AvailableReplies) == 0 || u.Permission.ToolCall.Kind != acp.ToolEdit {
			t.Errorf("request is %+v", u.Permission)
		}
		if _, err := session.Reply(ctx, u.Permission.ID, sandboxagent.Once); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "hello.txt")); err != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

package sandboxagent_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// Two clients answer the same question. One answer counts, and the other client
// learns whose it was.
func TestPermissionRace(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newServerSession(t, s.Client, api.SessionCreateRequest{})
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
	if _, err := session.ReplyPermission(ctx, pending[0].ID, "maybe"); !errors.As(err, &unsupported) || len(unsupported.Available) == 0 {
		t.Errorf("reply that is not offered: %v", err)
	}
	errs := make(chan error, 2)
	for _, name := range []string{"ann", "bob"} {
		client := sandboxagent.New(s.BaseURL(), sandboxagent.WithToken(sandboxagent.Token(s.Client)), sandboxagent.WithClientName(name))
		defer client.Close()
		go func() {
			_, err := client.Sessions().Session(session.ID).ReplyPermission(ctx, pending[0].ID, sandboxagent.Once)
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
	session := newServerSession(t, s.Client, api.SessionCreateRequest{})
	answering, stop := context.WithCancel(ctx)
	asked := 0
	answered := make(chan error, 1)
	go func() {
		answered <- session.OnPermission(answering, func(_ context.Context, p api.Permission) (sandboxagent.Reply, error) {
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

package sandboxagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// TestPermissionEventsOfAllSessions replies to what several sessions ask, from one
// loop, and begins again in the middle.
func TestPermissionEventsOfAllSessions(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	turns := make(chan error)
	for _, id := range []string{"one", "two", "three"} {
		session := newSession(t, s.Client, sandboxagent.SessionOptions{ID: id})
		go func() {
			_, err := session.Prompt(ctx, sandboxagent.Text("/permission"))
			turns <- err
		}()
	}
	replied, last := 0, uint64(0)
	for e, err := range s.PermissionEvents(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if last++; e.Seq != last {
			t.Fatalf("event %d has the number %d", last, e.Seq)
		}
		if e.Permission == nil {
			continue
		}
		resolved, err := s.ReplyPermission(ctx, e.SessionID, e.PermissionID, api.PermissionReply{Reply: api.ReplyOnce})
		if err != nil || resolved.Reply != api.ReplyOnce {
			t.Fatalf("replied %+v, %v", resolved, err)
		}
		if replied++; replied == 3 {
			break
		}
	}
	for range 3 {
		if err := <-turns; err != nil {
			t.Error(err)
		}
	}
	inbox, err := s.Permissions(ctx)
	if err != nil || len(inbox.Permissions) != 0 || inbox.Cursor != 6 {
		t.Fatalf("the inbox is %+v, %v", inbox, err)
	}
	for e, err := range s.PermissionEvents(ctx, last) {
		if err != nil || e.Seq != last+1 {
			t.Fatalf("behind %d comes %+v, %v", last, e, err)
		}
		if last++; last == inbox.Cursor {
			break
		}
	}
	var unsupported *sandboxagent.UnsupportedReplyError
	if _, err := s.ReplyPermission(ctx, "one", "perm-one-1", api.PermissionReply{Reply: "once"}); err == nil || errors.As(err, &unsupported) {
		t.Errorf("a reply to nothing: %v", err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	for _, err := range s.PermissionEvents(ended, 0) {
		t.Errorf("a loop that has ended yields %v", err)
	}
}

func TestCheckPermissions(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	policy := &api.PermissionPolicy{Default: api.DefaultDecision(api.DecideAllow), Rules: []api.PermissionRule{
		{ID: "no-rm", Command: "rm *", Decision: api.DecideReject}, {ID: "rm", Command: "rm *", Decision: api.DecideAllow},
	}}
	check, err := s.CheckPermissions(ctx, api.PermissionCheckRequest{Policy: policy, Command: "rm x"})
	if err != nil || len(check.Calls) != 1 {
		t.Fatalf("checked %+v, %v", check, err)
	}
	if c := check.Calls[0]; c.Decision != api.DecideReject || c.Rule == nil || c.Rule.ID != "no-rm" || len(c.Beaten) != 1 {
		t.Errorf("the verdict is %+v", c)
	}
	check, err = s.CheckPermissions(ctx, api.PermissionCheckRequest{Policy: policy, ToolCall: json.RawMessage(`{"kind":"read"}`)})
	if err != nil || check.Calls[0].Decision != api.DecideAllow {
		t.Errorf("checked %+v, %v", check, err)
	}
	if _, err := s.CheckPermissions(ctx, api.PermissionCheckRequest{Command: "ls"}); !errors.Is(err, api.CodeInvalidRequest) {
		t.Errorf("a check without a policy: %v", err)
	}
}

package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

// remember has a session write a file, and replies always to its request.
func (r *rig) remember(id, prompt, reply string) {
	r.t.Helper()
	r.promptAsync(id, prompt, "")
	p := r.awaitPermission(id)
	r.do("POST", "/v1/sessions/"+id+"/permissions/"+p.ID, reply, nil)
	r.awaitStatus(id, api.SessionIdle)
}

func (r *rig) wrote(name string) bool {
	_, err := os.Stat(filepath.Join(r.home, name))
	return err == nil
}

// TestRejectWinsOverRemembered replies always for a directory in which a rule
// rejects one file.
func TestRejectWinsOverRemembered(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper","permissions":{"rules":[{"kind":"edit","path":"secret.txt","decision":"reject"}]}}`)
	r.remember(s.ID, "write a1.txt with x", `{"reply":"always","scope":"directory"}`)
	r.prompt(s.ID, "write a2.txt with x")
	r.prompt(s.ID, "write secret.txt with x")
	if !r.wrote("a1.txt") || !r.wrote("a2.txt") || r.wrote("secret.txt") {
		t.Errorf("written: a1 %v, a2 %v, secret %v; want all but secret", r.wrote("a1.txt"), r.wrote("a2.txt"), r.wrote("secret.txt"))
	}
	r.promptAsync(s.ID, "write opencode.json with x", "")
	if p := r.awaitPermission(s.ID); len(p.Always) > 0 || !strings.Contains(p.NoAlways, "protected") || strings.Contains(strings.Join(p.AvailableReplies, " "), "always") {
		t.Errorf("a protected path: %+v", p)
	} else if err := r.send(t.Context(), "POST", "/v1/sessions/"+s.ID+"/permissions/"+p.ID, `{"reply":"always"}`, nil); !errors.Is(err, api.CodeReplyNotAvailable) || !strings.Contains(err.Error(), "protected") {
		t.Errorf("always for a protected path: %v", err)
	}
}

// TestStricterDefaultForgets patches a session that remembers, with defaults that
// are stricter for other kinds and for its own.
func TestStricterDefaultForgets(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper"}`)
	path := "/v1/sessions/" + s.ID
	r.remember(s.ID, "write a.txt with x", `{"reply":"always"}`)
	var patched api.Session
	r.do("PATCH", path, `{"permissions":{"default":{"execute":"reject","*":"ask"}}}`, &patched)
	if len(patched.ForgottenRules) != 0 {
		t.Errorf("a stricter default for commands revoked %+v", patched.ForgottenRules)
	}
	r.prompt(s.ID, "write a.txt with y") // as remembered
	r.do("PATCH", path, `{"permissions":{"default":"reject"}}`, &patched)
	if len(patched.ForgottenRules) != 1 || patched.ForgottenRules[0].Path != "a.txt" {
		t.Errorf("default reject revoked %+v", patched.ForgottenRules)
	}
	if n := count(r.events(s.ID), api.EventPermissionRulesForgotten); n != 1 {
		t.Errorf("%d events tell of it", n)
	}
	r.prompt(s.ID, "write a.txt with z")
	if data, err := os.ReadFile(filepath.Join(r.home, "a.txt")); err != nil || strings.TrimSpace(string(data)) != "y" {
		t.Errorf("after default reject a.txt holds %q, %v", data, err)
	}
	var rules api.PermissionRules
	if r.do("GET", path+"/permissions/rules", "", &rules); len(rules.Remembered) != 0 || rules.Default.For("edit") != api.DecideReject {
		t.Errorf("rules are %+v", rules)
	}
	s = r.get(s.ID)
	if len(s.ForgottenRules) != 0 {
		t.Errorf("the session still tells of %+v", s.ForgottenRules)
	}
}

// TestPolicyOnTheWire has policies refused that say less, or more, than their
// author meant.
func TestPolicyOnTheWire(t *testing.T) {
	r := start(t, "", api.Limits{})
	s := r.create(`{"agent":"keeper","permissions":{"default":{"execute":"ask","edit":"allow","*":"reject"}}}`)
	if data, err := json.Marshal(s.Permissions.Default); err != nil || string(data) != `{"*":"reject","edit":"allow","execute":"ask"}` {
		t.Errorf("the default comes back as %s, %v", data, err)
	}
	for _, policy := range []string{
		`{"rules":[{"decision":"allow","cmd":"git *"}]}`, `{"rules":[{"decision":"allow","kind":"edit","title":"x"}]}`, `{"defualt":"reject"}`, `{"rules":[{"decision":"allow"}]}`,
		`{"default":{"edits":"allow"}}`, `{"default":{"edit":"yes"}}`, `{"default":7}`, `{"rules":[{"kind":"bash","decision":"reject"}]}`, `{"rules":[{"command":"echo $x","decision":"reject"}]}`,
	} {
		for _, req := range [][3]string{{"POST", "/v1/sessions", `{"agent":"keeper","permissions":`}, {"PATCH", "/v1/sessions/" + s.ID, `{"permissions":`}} {
			var problem *api.Error
			err := r.send(t.Context(), req[0], req[1], req[2]+policy+"}", nil)
			if !errors.As(err, &problem) || problem.Status != 400 && problem.Status != 422 {
				t.Errorf("%s with %s: %v", req[0], policy, err)
			}
		}
	}
}

// TestRulesOfEarlierBuilds opens a journal whose session has rules by title, and
// one that allows everything.
func TestRulesOfEarlierBuilds(t *testing.T) {
	data := t.TempDir()
	store, err := sqlite.Open(filepath.Join(data, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := `{"id":"old","agent":"keeper","cwd":"/","createdAt":1,"updatedAt":1,
		"policy":{"default":"ask","rules":[{"id":"r1","title":"Do it","decision":"allow"},{"id":"r2","decision":"allow"},{"id":"r3","command":"rm *","decision":"reject"},{"id":"r4","kind":"edit","title":"x","decision":"reject"}]},
		"remembered":[{"id":"m1","kind":"execute","title":"ls *","decision":"allow"},{"id":"m2","kind":"execute","command":"ls","decision":"allow"}]}`
	if err := j.PutRecord(context.Background(), session.RecordKind, "old", []byte(record)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, data, api.Limits{})
	for range 2 {
		var rules api.PermissionRules
		r.do("GET", "/v1/sessions/old/permissions/rules", "", &rules)
		if len(rules.Rules) != 1 || rules.Rules[0].ID != "r3" || len(rules.Remembered) != 1 || rules.Remembered[0].ID != "m2" {
			t.Errorf("rules are %+v", rules)
		}
		if n := count(r.events("old"), api.EventPermissionRulesForgotten); n != 1 {
			t.Errorf("%d events tell of the rules that were dropped", n)
		}
		r.stop()
		r = start(t, data, api.Limits{})
	}
}

package fakeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/acp"
)

func TestKeywords(t *testing.T) {
	var stderr bytes.Buffer
	c := start(t, Options{Stderr: &stderr})
	id := c.open(t.TempDir())
	c.prompt(id, "/echo a b")
	if kinds, text, _ := c.take(); text != "a b" || !strings.HasPrefix(kinds, "agent_message_chunk") {
		t.Errorf("echo: %s %q", kinds, text)
	}
	var fault *acp.RPCError
	err := c.conn.Call(t.Context(), acp.MethodSessionPrompt, acp.PromptRequest{SessionID: id, Prompt: acp.Prompt{acp.TextBlock("/error 429 slow down")}}, nil)
	if !errors.As(err, &fault) || fault.Code != 429 || fault.Message != "slow down" {
		t.Errorf("error: %v", err)
	}
	c.prompt(id, "/rubbish <html>")
	if len(c.rubbish) != 1 || c.rubbish[0] != "<html>" {
		t.Errorf("rubbish %q", c.rubbish)
	}
	c.take()
	c.prompt(id, "/longline 300000")
	if _, text, _ := c.take(); len(text) < 299_000 {
		t.Errorf("long line of %d", len(text))
	}
	c.prompt(id, "/delay 1ms /stderr oh")
	c.prompt(id, "/exit")
	c.stop()
	if stderr.String() != "oh\n" {
		t.Errorf("stderr %q", stderr.String())
	}
	for line := range strings.Lines(Usage()) {
		if word := strings.Fields(line); len(word) > 0 && strings.HasPrefix(word[0], "/") && word[0] != "/crash" && word[0] != "/hang" && word[0] != "/deaf" && word[0] != "/silence" && word[0] != "/exit" {
			handled, _ := newTurn(t).keyword(canceled(), word[0])
			if !handled {
				t.Errorf("%s is documented and not known", word[0])
			}
		}
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func newTurn(t *testing.T) *turn {
	ctx, cancel := context.WithCancel(t.Context())
	a := newAgent(ctx, cancel, Options{})
	a.conn = acp.NewConn(strings.NewReader(""), io.Discard, acp.ConnOptions{})
	return &turn{agent: a, session: openSession(meta{ID: "s"}, nil)}
}

func TestBurst(t *testing.T) {
	c := start(t, Options{})
	id := c.open(t.TempDir())
	c.prompt(id, "/burst 5000 300")
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range 5000 {
		u := c.updates[i]
		var n int
		if _, err := fmt.Sscan(u.Content.Text, &n); err != nil || n != i+1 {
			t.Fatalf("update %d carries %d, %v", i+1, n, err)
		}
	}
}

// TestHangAtOnce cancels a prompt before its turn has begun.
func TestHangAtOnce(t *testing.T) {
	hanging := newTurn(t)
	hanging.prompt = acp.Prompt{acp.TextBlock("/hang")}
	hanging.quit()
	if err := hanging.run(canceled()); !errors.Is(err, errHang) {
		t.Errorf("the turn ended with %v", err)
	}
}

func TestHangAndCrash(t *testing.T) {
	codes := make(chan int, 1)
	c := start(t, Options{Exit: func(code int) { codes <- code }})
	id := c.open(t.TempDir())
	other := c.open(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		hung <- c.conn.Call(ctx, acp.MethodSessionPrompt, acp.PromptRequest{SessionID: id, Prompt: acp.Prompt{acp.TextBlock("/hang")}}, nil)
	}()
	_ = c.conn.Notify(acp.MethodSessionCancel, acp.SessionRequest{SessionID: id})
	c.prompt(other, "still here") // another session goes on
	cancel()
	if err := <-hung; !errors.Is(err, context.Canceled) {
		t.Errorf("hang answered: %v", err)
	}
	go func() {
		_ = c.conn.Call(t.Context(), acp.MethodSessionPrompt, acp.PromptRequest{SessionID: other, Prompt: acp.Prompt{acp.TextBlock("/crash 7")}}, nil)
	}()
	if code := <-codes; code != 7 {
		t.Errorf("exit code %d", code)
	}
}

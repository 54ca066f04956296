package fakeagent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// contextSize is the size of the context the agent claims to have, in tokens.
const contextSize = 200_000

// startPrompt begins a turn. It is registered before this returns, so that a
// cancel that follows at once finds it.
func (a *agent) startPrompt(in *acp.Incoming) {
	var p acp.PromptRequest
	if err := in.Decode(&p); err != nil {
		_ = in.Fail(err)
		return
	}
	s, err := a.session(p.SessionID)
	if err != nil {
		_ = in.Fail(err)
		return
	}
	ctx, end := s.begin(a.ctx)
	id := string(in.ID)
	a.mu.Lock()
	a.requests[id] = end
	a.mu.Unlock()
	a.turns.Go(func() {
		defer func() {
			a.mu.Lock()
			delete(a.requests, id)
			a.mu.Unlock()
			end()
		}()
		a.answerPrompt(ctx, in, s, p.Prompt)
	})
}

func (a *agent) answerPrompt(ctx context.Context, in *acp.Incoming, s *session, prompt acp.Prompt) {
	if !s.acquire(ctx) {
		_ = in.Reply(acp.PromptResult{StopReason: acp.StopCancelled})
		return
	}
	defer func() { <-s.turn }()
	t := &turn{agent: a, session: s, meta: s.snapshot(), prompt: prompt}
	err := t.run(ctx)
	if errors.Is(err, errHang) {
		return
	}
	saveErr := t.save()
	if err == nil {
		err = saveErr
	}
	switch {
	case ctx.Err() != nil:
		_ = in.Reply(acp.PromptResult{StopReason: acp.StopCancelled, Usage: t.usage()})
	case errors.Is(err, errExit):
		_ = in.Reply(acp.PromptResult{StopReason: acp.StopEndTurn, Usage: t.usage()})
		a.quit()
	case err != nil:
		_ = in.Fail(err)
	default:
		_ = in.Reply(acp.PromptResult{StopReason: acp.StopEndTurn, Usage: t.usage()})
	}
}

// A turn is the work on one prompt.
type turn struct {
	*agent
	session *session
	meta    meta // as the turn began
	prompt  acp.Prompt
	calls   int // tool calls made
	written int // bytes of text produced
}

func (t *turn) run(ctx context.Context) error {
	text := lastText(t.prompt)
	for _, b := range t.prompt {
		t.session.record(acp.Update{Kind: acp.UpdateUserMessage, Content: b})
	}
	if handled, err := t.keyword(ctx, text); handled {
		return err
	}
	return t.work(ctx, text)
}

// work does what a text without a keyword asks for.
func (t *turn) work(ctx context.Context, text string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if job, ok := parseJob(text); ok {
		return t.do(ctx, job)
	}
	t.think("A plain message: an answer is enough.")
	t.talk(text)
	t.reportUsage()
	return nil
}

// lastText is the text of the last block: clients that restore a session put
// what was said before into the blocks ahead of it.
func lastText(p acp.Prompt) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].Type == acp.ContentText && strings.TrimSpace(p[i].Text) != "" {
			return strings.TrimSpace(p[i].Text)
		}
	}
	return ""
}

func (t *turn) talk(text string) {
	if text == "" {
		t.say("There was no text in that.")
		return
	}
	if asksForMemory(text) {
		t.recall()
		return
	}
	t.say("You said: ")
	t.say(text)
}

func asksForMemory(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "what did i say") || strings.Contains(text, "what did i tell you")
}

// recall quotes the user's earlier messages.
func (t *turn) recall() {
	var said []string
	t.session.mu.Lock()
	for _, u := range t.session.history {
		if u.Kind == acp.UpdateUserMessage && u.Content.Text != "" {
			said = append(said, fmt.Sprintf("%q", u.Content.Text))
		}
	}
	t.session.mu.Unlock()
	if len(said) <= 1 {
		t.say("You have said nothing before this.")
		return
	}
	t.say("You said before: ")
	t.say(strings.Join(said[:len(said)-1], ", "))
}

func (t *turn) say(text string)   { t.chunk(acp.UpdateAgentMessage, text) }
func (t *turn) think(text string) { t.chunk(acp.UpdateAgentThought, text) }

func (t *turn) chunk(kind, text string) {
	t.written += len(text)
	t.send(acp.Update{Kind: kind, Content: acp.TextBlock(text)})
}

// send sends an update and keeps it in the history. It leaves with the next
// frame that is not queued, at the latest with the result.
func (t *turn) send(u acp.Update) {
	t.session.record(u)
	t.sendUpdate(t.session, u)
}

func (a *agent) sendUpdate(s *session, u acp.Update) {
	frame, err := acp.RequestFrame(nil, acp.MethodSessionUpdate, acp.SessionNotification{SessionID: s.id, Update: u})
	if err != nil {
		fmt.Fprintf(a.opts.Stderr, "mock: encode update: %v\n", err)
		return
	}
	_ = a.conn.Queue(frame) // a broken pipe ends the turn when the result is sent
}

// usage counts a token for every four bytes.
func (t *turn) usage() *acp.Usage {
	in, out := int64(len(t.prompt.Text())/4+1), int64(t.written/4)
	return &acp.Usage{InputTokens: in, OutputTokens: out, TotalTokens: in + out}
}

func (t *turn) reportUsage() {
	t.sendUpdate(t.session, acp.Update{Kind: acp.UpdateUsage, Usage: acp.ContextUsage{
		Used: t.meta.Used + t.usage().TotalTokens, Size: contextSize,
	}})
}

// save puts the turn on disk before the client receives its end.
func (t *turn) save() error {
	s := t.session
	s.mu.Lock()
	s.meta.Used += t.usage().TotalTokens
	s.meta.Updated = now()
	named := s.meta.Title == "" && lastText(t.prompt) != ""
	if named {
		s.meta.Title = titleOf(lastText(t.prompt))
	}
	s.mu.Unlock()
	if err := t.store.extend(s); err != nil {
		return err
	}
	if named {
		t.sendUpdate(s, acp.Update{Kind: acp.UpdateSessionInfo, Info: acp.SessionInfo{Title: s.snapshot().Title, UpdatedAt: now()}})
		return t.store.save(s)
	}
	return nil
}

func titleOf(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if runes := []rune(line); len(runes) > 60 {
		return string(runes[:60]) + "..."
	}
	return line
}

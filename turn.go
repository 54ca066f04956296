package sandboxagent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Kinds of [Update] that the protocol does not have.
const (
	UpdatePermission = "permission_request" // Permission is set
	UpdateTurnEnd    = "turn_end"           // Turn is set; the last update of a stream
	UpdateGap        = "gap"                // Gap is set: the server has lost events
)

// An Update is one step of a turn. Kind, which is one of package acp's or of
// those above, says which of the fields is set.
type Update struct {
	acp.Update
	EventID uint64 // of the server's event; 0 when there is none

	Permission *PermissionRequest
	Turn       *Turn
	Gap        *api.Gap
}

// MarshalJSON writes an update of the protocol as the agent sent it, and the
// others in the same manner.
func (u Update) MarshalJSON() ([]byte, error) {
	switch {
	case u.Permission != nil:
		return json.Marshal(struct {
			Kind     string                 `json:"sessionUpdate"`
			ID       string                 `json:"permissionId"`
			ToolCall acp.ToolCall           `json:"toolCall"`
			Options  []acp.PermissionOption `json:"options"`
		}{u.Kind, u.Permission.ID, u.Permission.ToolCall, u.Permission.Options})
	case u.Turn != nil:
		return json.Marshal(struct {
			Kind       string     `json:"sessionUpdate"`
			StopReason string     `json:"stopReason"`
			Text       string     `json:"text"`
			Usage      *acp.Usage `json:"usage,omitempty"`
		}{u.Kind, u.Turn.StopReason, u.Turn.Text, u.Turn.Usage})
	case u.Gap != nil:
		return json.Marshal(struct {
			Kind string `json:"sessionUpdate"`
			*api.Gap
		}{u.Kind, u.Gap})
	case u.Raw != nil:
		return u.Raw, nil
	}
	return u.Update.MarshalJSON()
}

// A Turn is the work of an agent on one prompt.
type Turn struct {
	// Text is what the agent said. A blank line stands where it did something
	// else in between.
	Text string

	// StopReason is why the turn ended, one of [acp.StopEndTurn] and its like.
	// It is empty when the turn did not end properly.
	StopReason string

	Usage     *acp.Usage     // nil when the agent does not count
	ToolCalls []acp.ToolCall // each as it stood at the end, in order of first mention
	Plan      []acp.PlanEntry
	Updates   []Update // all of them; nil in a turn of [Session.Stream]

	other bool // something came since the last piece of text
}

// add takes an update into the turn.
func (t *Turn) add(u Update) {
	switch u.Kind {
	case acp.UpdateAgentMessage:
		if u.Content.Type != acp.ContentText {
			return
		}
		if t.other && t.Text != "" && !strings.HasSuffix(t.Text, "\n") {
			t.Text += "\n\n"
		}
		t.other = false
		t.Text += u.Content.Text
	case acp.UpdateToolCall, acp.UpdateToolCallDelta:
		t.other = true
		t.addCall(u.ToolCall)
	case UpdatePermission:
		t.other = true
		u.Permission.ToolCall = t.addCall(u.Permission.ToolCall)
	case acp.UpdatePlan:
		t.Plan = u.Plan
	}
}

// addCall merges what is new of a tool call, which may be first told of in any
// kind of update, and returns the whole.
func (t *Turn) addCall(call acp.ToolCall) acp.ToolCall {
	i := slices.IndexFunc(t.ToolCalls, func(c acp.ToolCall) bool { return c.ID == call.ID })
	if i < 0 {
		t.ToolCalls = append(t.ToolCalls, acp.ToolCall{})
		i = len(t.ToolCalls) - 1
	}
	t.ToolCalls[i].Merge(call)
	return t.ToolCalls[i]
}

// maxHeld bounds the updates that wait for the consumer of a turn, in bytes of
// what the agent sent. Then the event stream waits too, and the rest stays with
// the server, which loses nothing.
const maxHeld = 16 << 20

// A turn carries updates from the reader of the connection to the consumer.
type turn struct {
	ctx    context.Context // ends when the turn is cancelled or over
	cancel context.CancelFunc
	ended  chan struct{} // closed when the result is there

	ready chan struct{} // holds a token when there may be something to take
	room  chan struct{} // holds a token when something was taken

	call *pendingCall // nil until the prompt is sent; guarded by Session.mu

	mu        sync.Mutex
	updates   []Update
	bytes     int
	result    acp.PromptResult
	err       error
	over      bool // ended is closed
	discarded bool // nobody takes updates any more
}

func newTurn() *turn {
	t := &turn{ended: make(chan struct{}), ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// push hands an update to the consumer. It waits while there is too much of
// them, but not longer than ctx.
func (t *turn) push(ctx context.Context, u Update, held func(bool)) {
	for {
		t.mu.Lock()
		switch {
		case t.discarded:
			t.mu.Unlock()
			if u.Permission != nil {
				u.Permission.conn.background(u.Permission.cancel)
			}
			return
		case t.bytes < maxHeld || t.over:
			t.updates = append(t.updates, u)
			t.bytes += len(u.Raw) + 64
			t.mu.Unlock()
			wake(t.ready)
			return
		}
		t.mu.Unlock()
		held(true)
		select {
		case <-t.room:
		case <-t.ended:
		case <-ctx.Done():
			held(false)
			return
		}
		held(false)
	}
}

// take returns the updates that wait, and whether these are the last.
func (t *turn) take() (updates []Update, last bool) {
	t.mu.Lock()
	updates, t.updates, t.bytes = t.updates, nil, 0
	last = t.over
	t.mu.Unlock()
	wake(t.room)
	return updates, last
}

// finish sets the result. Updates that come later are of no turn.
func (t *turn) finish(raw json.RawMessage, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		if err = json.Unmarshal(raw, &t.result); err != nil {
			err = fmt.Errorf("decode answer: %w", err)
		}
	}
	t.err, t.over = err, true
	t.cancel() // whoever is asked something need not answer any more
	close(t.ended)
	wake(t.ready)
}

// discard drops what waits and what will come.
func (t *turn) discard() {
	t.mu.Lock()
	t.discarded = true
	waiting := t.updates
	t.updates, t.bytes = nil, 0
	t.mu.Unlock()
	wake(t.room)
	for _, u := range waiting {
		if u.Permission != nil {
			u.Permission.cancel()
		}
	}
}

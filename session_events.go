package sandboxagent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// A SessionEvent is one event of a [Session]: a frame between client and
// agent, or a notice of the server.
type SessionEvent struct {
	api.SessionEvent

	// Gap is set where events are missing because the server no longer keeps
	// them. Nothing else is set then.
	Gap *api.Gap

	// Reset is set, and nothing else, where the reader was ahead of the last
	// event, because a server has lost some with its disk. What follows is behind
	// Reset.Last.
	Reset *api.Reset
}

// Cursor returns the number after which [Session.Events] goes on behind this event.
func (e SessionEvent) Cursor() uint64 {
	switch {
	case e.Gap != nil:
		return e.Gap.To
	case e.Reset != nil:
		return e.Reset.Last
	}
	return e.EventIndex
}

// message is what telling events apart needs of a frame.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *acp.RPCError   `json:"error"`
}

func (e SessionEvent) message() (m message) {
	if json.Unmarshal(e.Payload, &m) != nil {
		return message{} // one of a newer protocol, which says nothing to us
	}
	return m
}

// Method returns the method of the frame, for example
// [acp.MethodSessionPrompt] or [api.EventSessionRestored]. Answers have none.
func (e SessionEvent) Method() string { return e.message().Method }

// Params decodes the parameters of the frame into v.
func (e SessionEvent) Params(v any) error {
	if err := json.Unmarshal(e.message().Params, v); err != nil {
		return fmt.Errorf("decode event %s: %w", e.ID, err)
	}
	return nil
}

// Update returns what the agent reports of its work, a gap, or a reset. It is false for
// events of other kinds; Method says which.
func (e SessionEvent) Update() (Update, bool) {
	if e.Gap != nil {
		return Update{Update: acp.Update{Kind: UpdateGap}, Event: e, Gap: e.Gap}, true
	}
	if e.Reset != nil {
		return Update{Update: acp.Update{Kind: UpdateReset}, Event: e}, true
	}
	m := e.message()
	var n acp.SessionNotification
	if m.Method != acp.MethodSessionUpdate || json.Unmarshal(m.Params, &n) != nil {
		return Update{}, false
	}
	return Update{Update: n.Update, Event: e}, true
}

// Prompt returns the prompt that a client sent to the agent, without the record of
// the session that the server may have added. It reports false for events that are
// not a prompt.
func (e SessionEvent) Prompt() (acp.Prompt, bool) {
	m := e.message()
	var p acp.PromptRequest
	if m.Method != acp.MethodSessionPrompt || json.Unmarshal(m.Params, &p) != nil {
		return nil, false
	}
	said := p.Prompt[:0:0]
	for _, block := range p.Prompt {
		if !bytes.Contains(block.Meta, []byte(`"`+api.MetaPrimer+`"`)) {
			said = append(said, block)
		}
	}
	return said, true
}

// History yields the events there are after the one numbered after, in order,
// each once. Events that are no longer kept are a [SessionEvent] with a Gap; if
// there are fewer than after there is one with a Reset, and no other. An error is the last thing it yields.
func (s *Session) History(ctx context.Context, after uint64) iter.Seq2[SessionEvent, error] {
	return func(yield func(SessionEvent, error) bool) {
		to := uint64(0)
		for {
			page, err := get[api.SessionEvents](ctx, s.c, s.route("events"), url.Values{
				"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(maxEventsPage)},
			})
			if err != nil {
				yield(SessionEvent{}, s.failed("get events of", err))
				return
			}
			if to == 0 {
				to = page.Total
			}
			if page.Reset != nil {
				yield(SessionEvent{Reset: page.Reset}, nil)
				return
			}
			if g := page.Gap; g != nil && g.To > after {
				after = g.To
				if !yield(SessionEvent{Gap: g}, nil) {
					return
				}
			}
			for _, e := range page.Events {
				after = e.EventIndex
				if !yield(SessionEvent{SessionEvent: e}, nil) {
					return
				}
			}
			if after >= to || page.NextCursor == "" {
				return
			}
		}
	}
}

const maxEventsPage = 500

// Events yields the events after the one numbered after, those there are and
// then those to come, in order and each once, until ctx ends. It finds its way
// back when the connection breaks or the server is away. Events that are no
// longer kept are a [SessionEvent] with a Gap, and one with a Reset takes a reader
// back that is ahead of the last event. An error, for example
// [ErrSessionNotFound] once the session is purged, is the last thing it yields;
// the end of ctx is none.
//
// A client that reads is listed among the clients of the session; see
// [WithClientName].
func (s *Session) Events(ctx context.Context, after uint64) iter.Seq2[SessionEvent, error] {
	return func(yield func(SessionEvent, error) bool) {
		f := &follower{
			c:       s.c,
			request: request{path: s.route("events", "stream"), query: url.Values{"after": {strconv.FormatUint(after, 10)}}},
			ended:   func() bool { return false }, // a session has no last event
		}
		reader := eventDecoder{last: after}
		for raw, err := range f.events(ctx) {
			e, fresh := SessionEvent{}, true
			if err == nil {
				e, fresh, err = reader.decode(raw)
			}
			if err != nil {
				yield(SessionEvent{}, s.failed("follow", err))
				return
			}
			if fresh && !yield(e, nil) {
				return
			}
		}
	}
}

// An eventDecoder reads the events of a session, and sees to it that each comes
// once.
type eventDecoder struct {
	last uint64 // number of the newest event that came
}

// decode returns an event; fresh is false for one that came before. A hole that
// the server says nothing of is not passed over: it is the error of a broken
// stream.
func (d *eventDecoder) decode(raw event) (e SessionEvent, fresh bool, err error) {
	switch raw.name {
	case "gap":
		e.Gap = new(api.Gap)
		if err := json.Unmarshal(raw.data, e.Gap); err != nil {
			return e, false, fmt.Errorf("decode gap: %w", err)
		}
		if e.Gap.To <= d.last {
			return e, false, nil
		}
		d.last = e.Gap.To
	case "reset":
		e.Reset = new(api.Reset)
		if err := json.Unmarshal(raw.data, e.Reset); err != nil {
			return e, false, fmt.Errorf("decode reset: %w", err)
		}
		d.last = e.Reset.Last
	case "message":
		if e.SessionEvent, err = decodeEvent(raw.data); err != nil {
			return e, false, fmt.Errorf("decode event: %w", err)
		}
		switch {
		case e.EventIndex <= d.last:
			return e, false, nil
		case e.EventIndex > d.last+1:
			return e, false, fmt.Errorf("event %d came after event %d", e.EventIndex, d.last)
		}
		d.last = e.EventIndex
	default:
		return e, false, nil
	}
	return e, true, nil
}

var payloadKey = []byte(`,"payload":`)

// decodeEvent decodes an event. Where the payload comes last, as servers write
// it, it is looked at once instead of three times, which halves what reading a
// long history costs. It may change data.
func decodeEvent(data []byte) (e api.SessionEvent, err error) {
	i, end := bytes.Index(data, payloadKey), len(data)-1
	if i > 0 && data[i-1] != '{' && data[i-1] > ' ' && data[end] == '}' {
		payload := data[i+len(payloadKey) : end]
		data[i] = '}'
		if json.Valid(payload) && json.Unmarshal(data[:i+1], &e) == nil {
			e.Payload = bytes.Clone(bytes.TrimSpace(payload))
			return e, nil
		}
		data[i] = ','
		e = api.SessionEvent{}
	}
	return e, json.Unmarshal(data, &e)
}

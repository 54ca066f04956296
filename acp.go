package sandboxagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// An ACPConn is an agent process and what passes to and from it, in the frames of
// the [Agent Client Protocol]: for programs that speak the protocol themselves,
// such as editors. For anything else there is [Session]. Its methods may be
// called from several goroutines.
//
// [Agent Client Protocol]: https://agentclientprotocol.com
type ACPConn struct {
	ID string // as in [Client.ACPServers]

	c      *Client
	agent  string
	opened chan struct{} // closed when the server has the connection

	mu   sync.Mutex
	sent bool // a frame was sent, so that the agent is named
}

// ACP returns a connection to an agent of its own, which starts with the first
// frame. An agent that the server does not know is [ErrUnsupportedAgent].
func (c *Client) ACP(ctx context.Context, agent string) (*ACPConn, error) {
	if _, err := c.Agent(ctx, agent, AgentsOptions{}); err != nil {
		return nil, fmt.Errorf("connect to agent: %w", err)
	}
	return &ACPConn{ID: "acp-" + rand.Text(), c: c, agent: agent, opened: make(chan struct{})}, nil
}

// Send sends one frame, without a line end. For a request it returns the agent's
// reply, once there is one, and for other frames nil. It sets no limit of time:
// prompts may take hours.
func (a *ACPConn) Send(ctx context.Context, frame []byte) ([]byte, error) {
	query := url.Values{}
	a.mu.Lock()
	first := !a.sent
	if a.sent = true; first {
		query.Set("agent", a.agent)
	}
	a.mu.Unlock()
	reply, err := a.post(ctx, frame, query)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.sent = !first
		return nil, fmt.Errorf("send frame to agent %s: %w", a.agent, agentExited(a.agent, err))
	case first:
		close(a.opened)
	}
	return reply, nil
}

func (a *ACPConn) post(ctx context.Context, frame []byte, query url.Values) ([]byte, error) {
	resp, err := a.c.send(ctx, request{
		method: http.MethodPost, path: route("v1", "acp", a.ID), query: query,
		body: bytes.NewReader(frame), size: int64(len(frame)), media: "application/json",
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	if resp.StatusCode == http.StatusAccepted {
		return nil, nil
	}
	return reply, nil
}

// Frames yields everything that the agent says, from its first frame on, in order
// and each once: requests, notifications, and replies, those that [ACPConn.Send]
// returns among them. It waits for the first frame that is sent, and finds its way
// back when the connection to the server breaks. An error, for example that of a
// connection that was closed, is the last thing it yields; the end of ctx is none.
func (a *ACPConn) Frames(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		select {
		case <-a.opened:
		case <-ctx.Done():
			return
		}
		f := follower{
			c: a.c, request: request{path: route("v1", "acp", a.ID)}, lastID: "0",
			ended: func() bool { return false }, // it ends for good when the server says 404
		}
		seen := uint64(0)
		for e, err := range f.events(ctx) {
			if err != nil {
				yield(nil, fmt.Errorf("read frames of agent %s: %w", a.agent, err))
				return
			}
			number, err := strconv.ParseUint(e.id, 10, 64)
			switch {
			case e.name == "gap", e.name == "reset":
				yield(nil, fmt.Errorf("read frames of agent %s: %w", a.agent, lost(e)))
				return
			case e.name != "message" || err == nil && number <= seen:
				continue
			case err == nil:
				seen = number
			}
			if !yield(bytes.Clone(e.data), nil) {
				return
			}
		}
	}
}

// lost is the error of frames that the server no longer keeps, or has lost.
func lost(e event) error {
	if e.name == "reset" {
		var reset api.Reset
		if err := json.Unmarshal(e.data, &reset); err != nil {
			return fmt.Errorf("decode reset: %w", err)
		}
		return fmt.Errorf("the server has lost the frames behind %d, of which %d was read", reset.Last, reset.Cursor)
	}
	var gap api.Gap
	if err := json.Unmarshal(e.data, &gap); err != nil {
		return fmt.Errorf("decode gap: %w", err)
	}
	return fmt.Errorf("frames %d to %d are no longer kept", gap.From, gap.To)
}

// closeTimeout bounds what Close waits for an agent.
const closeTimeout = 2 * time.Second

// Close ends the connection and its agent. Closing twice is not an error.
func (a *ACPConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.c.do(ctx, http.MethodDelete, route("v1", "acp", a.ID), nil, nil); err != nil && !isGone(err) {
		return fmt.Errorf("close connection to agent %s: %w", a.agent, err)
	}
	return nil
}

// isGone reports whether the thing that a request is about does not exist any more.
func isGone(err error) bool {
	var problem *api.Error
	return errors.As(err, &problem) && (problem.Status == http.StatusNotFound || problem.Status == http.StatusGone)
}

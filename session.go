package sandboxagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// What callers most often ask of an error of a [Session], in addition to
// [ErrSessionBusy] and [ErrSessionNotFound].
var (
	// ErrSessionDestroyed means that a session was ended for good. See
	// [Session.Resume].
	ErrSessionDestroyed error = api.CodeSessionDestroyed

	// ErrSessionExists means that the id for a new session is taken.
	ErrSessionExists error = api.CodeSessionExists

	// ErrPermissionResolved means that another client replied first. errors.As
	// with [*PermissionResolvedError] says which.
	ErrPermissionResolved error = api.CodePermissionResolved

	// ErrTurnInterrupted means that the server ended in the middle of a turn.
	// What the agent had said by then is in the events, and the next prompt
	// restores the session.
	ErrTurnInterrupted = errors.New("turn was interrupted by the end of the server")
)

// WithClientName sets the name under which this client is listed among those of
// a session, and recorded as the one who replied to a permission request.
// Without it that is the client's address.
func WithClientName(name string) Option { return WithHeader("X-Client-Name", name) }

// SessionOptions say how a session starts. Only Agent is required.
type SessionOptions struct {
	Agent string // id of the agent, for example "claude"
	ID    string // of the session; empty lets the server choose
	Title string // empty means what the agent calls it

	// CWD is the working directory of the session, absolute or below the
	// server's home directory. Empty means the directory of [WithDir], else the
	// server's home directory.
	CWD string

	Model        string // empty means the agent's choice, as for the next two
	Mode         string
	ThoughtLevel string

	MCPServers []acp.MCPServer   // in addition to the configured ones
	Env        map[string]string // added to the environment of the agent; kept, but never shown
	Metadata   map[string]any    // of the client's own

	// Ephemeral keeps the session in the memory of the server alone: nothing of it
	// is on disk, it is in no export, and it ends with the server. What the agent
	// itself writes is the agent's.
	Ephemeral bool

	// Permissions decides the permission requests of the agent on the server,
	// whether or not a client is there. The zero value asks about everything.
	Permissions api.PermissionPolicy

	// OnPermission replies to the permission requests that Permissions asks
	// about, as [Session.OnPermission] says. Without it they wait for a reply of
	// any client.
	OnPermission PermissionHandler
}

// CreateSession starts a session with an agent of its own. When a setting cannot
// be made there is no session.
//
// The server keeps the session: it outlives this client, the agent and the
// server.
func (c *Client) CreateSession(ctx context.Context, opts SessionOptions) (*Session, error) {
	req := api.SessionCreateRequest{
		Agent: opts.Agent, ID: opts.ID, Title: opts.Title, CWD: opts.CWD,
		Model: opts.Model, Mode: opts.Mode, ThoughtLevel: opts.ThoughtLevel,
		Env: opts.Env, Permissions: &opts.Permissions, Metadata: opts.Metadata, Ephemeral: opts.Ephemeral,
	}
	if req.CWD == "" {
		req.CWD = c.dir
	}
	for _, server := range opts.MCPServers {
		req.MCPServers = append(req.MCPServers, api.SessionMCPServer(server))
	}
	info, err := call[api.Session](ctx, c, http.MethodPost, "/v1/sessions", nil, req)
	if err != nil {
		return nil, fmt.Errorf("create session: %w", sessionError(opts.Agent, err))
	}
	s := c.Session(info.ID)
	s.OnPermission(opts.OnPermission)
	return s, nil
}

// ResumeOrCreateSession resumes the session with the id of opts and makes its
// settings, or creates it when it is not found. It may be called by several
// clients at once: one of them creates.
func (c *Client) ResumeOrCreateSession(ctx context.Context, opts SessionOptions) (*Session, error) {
	if opts.ID == "" {
		return nil, errors.New("resume or create session: id is empty")
	}
	s := c.Session(opts.ID)
	err := s.Resume(ctx)
	if errors.Is(err, ErrSessionNotFound) {
		created, createErr := c.CreateSession(ctx, opts)
		if !errors.Is(createErr, ErrSessionExists) {
			return created, createErr
		}
		err = s.Resume(ctx) // another client has created it meanwhile
	}
	if err != nil {
		return nil, err
	}
	s.OnPermission(opts.OnPermission)
	for _, setting := range []struct {
		value string
		set   func(context.Context, string) error
	}{{opts.Mode, s.SetMode}, {opts.Model, s.SetModel}, {opts.ThoughtLevel, s.SetThoughtLevel}} {
		if setting.value == "" {
			continue
		}
		if err := setting.set(ctx, setting.value); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Session returns a handle of the session with that id, the server's or the
// agent's. It does no I/O: a session that does not exist matches
// [ErrSessionNotFound] in the first call.
func (c *Client) Session(id string) *Session { return &Session{ID: id, c: c} }

// SessionFilter selects sessions. The zero value selects all.
type SessionFilter struct {
	Status string // one of [api.SessionIdle] and its like
	Agent  string
	Text   string // in the title, the first prompt, an id or the working directory
}

func (f SessionFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"status": f.Status, "agent": f.Agent, "q": f.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// Sessions yields the sessions that the server keeps, whichever client opened
// them, the newest first. An error is the last thing it yields.
func (c *Client) Sessions(ctx context.Context, filter SessionFilter) iter.Seq2[api.Session, error] {
	return func(yield func(api.Session, error) bool) {
		q := filter.query()
		for {
			list, err := get[api.SessionList](ctx, c, "/v1/sessions", q)
			if err != nil {
				yield(api.Session{}, fmt.Errorf("list sessions: %w", err))
				return
			}
			for _, info := range list.Sessions {
				if !yield(info, nil) {
					return
				}
			}
			if list.NextCursor == "" {
				return
			}
			q.Set("cursor", list.NextCursor)
		}
	}
}

// A Session is a conversation with an agent that the server keeps, open to every
// client. Its methods may be called from several goroutines, and by several
// clients at once. It needs no closing. One that does not exist matches
// [ErrSessionNotFound] in all its methods.
type Session struct {
	ID string

	// Queue makes prompts wait for the turn under way instead of failing with
	// [ErrSessionBusy]. It is set before the first prompt.
	Queue bool

	c       *Client
	handler atomic.Pointer[PermissionHandler]
}

func (s *Session) route(rest ...string) string {
	return route(append([]string{"v1", "sessions", s.ID}, rest...)...)
}

func (s *Session) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s session %s: %w", doing, s.ID, sessionError("", err))
}

// Info describes the session as it is now.
func (s *Session) Info(ctx context.Context) (*api.Session, error) {
	info, err := get[api.Session](ctx, s.c, s.route(), nil)
	return info, s.failed("get", err)
}

// Update changes title, metadata or permission policy: what the patch has.
func (s *Session) Update(ctx context.Context, patch api.SessionPatch) (*api.Session, error) {
	info, err := call[api.Session](ctx, s.c, http.MethodPatch, s.route(), nil, patch)
	return info, s.failed("update", err)
}

// Resume starts the agent of the session, if it has none, without a prompt. A
// destroyed session is restored as well. Prompts start the agent by themselves.
func (s *Session) Resume(ctx context.Context) error {
	return s.failed("resume", s.c.do(ctx, http.MethodPost, s.route("restore"), nil, nil))
}

// Cancel ends the turn under way, whichever client started it, and the queued
// ones. An agent that does not obey is stopped; the next prompt restores the
// session. Without anything to cancel it does nothing.
func (s *Session) Cancel(ctx context.Context) (*api.SessionCancelResult, error) {
	result, err := call[api.SessionCancelResult](ctx, s.c, http.MethodPost, s.route("cancel"), nil, nil)
	return result, s.failed("cancel", err)
}

// Destroy ends the session: its permission requests and its turn are cancelled,
// and its agent is stopped. Its history is kept; see [Session.Purge]. Destroying
// twice is not an error.
func (s *Session) Destroy(ctx context.Context) error {
	return s.failed("destroy", s.c.do(ctx, http.MethodDelete, s.route(), nil, nil))
}

// Purge destroys the session and removes its history.
func (s *Session) Purge(ctx context.Context) error {
	return s.failed("purge", s.c.do(ctx, http.MethodDelete, s.route(), url.Values{"purge": {"true"}}, nil))
}

// The forms of a transcript.
const (
	TranscriptText     = "text"
	TranscriptMarkdown = "markdown"
	TranscriptJSON     = "json" // an [api.SessionTranscript]
)

// Transcript returns what was said and done, in one of the forms above. An empty
// format is [TranscriptText].
func (s *Session) Transcript(ctx context.Context, format string) (string, error) {
	q := url.Values{}
	if format != "" {
		q.Set("format", format)
	}
	resp, err := s.c.fetch(ctx, request{path: s.route("transcript"), query: q, accept: "*/*"})
	if err != nil {
		return "", s.failed("get transcript of", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	return string(text), s.failed("read transcript of", err)
}

// Messages returns the transcript for programs.
func (s *Session) Messages(ctx context.Context) ([]api.SessionMessage, error) {
	transcript, err := get[api.SessionTranscript](ctx, s.c, s.route("transcript"), url.Values{"format": {TranscriptJSON}})
	if err != nil {
		return nil, s.failed("get transcript of", err)
	}
	return transcript.Messages, nil
}

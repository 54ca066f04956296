package sandboxagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// What callers most often ask of an error of a [ServerSession], beside
// [ErrSessionBusy] and [ErrSessionNotFound].
var (
	// ErrSessionDestroyed means that a session was ended for good. See
	// [Sessions.Resume].
	ErrSessionDestroyed error = api.CodeSessionDestroyed

	// ErrSessionExists means that the id for a new session is taken.
	ErrSessionExists error = api.CodeSessionExists

	// ErrPermissionResolved means that somebody else was faster. errors.As with
	// [*PermissionResolvedError] tells who.
	ErrPermissionResolved error = api.CodePermissionResolved

	// ErrTurnInterrupted means that the server ended in the middle of a turn.
	// What the agent had said by then is in the events, and the next prompt
	// brings the session back.
	ErrTurnInterrupted = errors.New("turn was interrupted by the end of the server")
)

// WithClientName sets the name under which this client is listed among those of
// a session, and recorded as the one who answered a permission. Without it that
// is the client's address.
func WithClientName(name string) Option { return WithHeader("X-Client-Name", name) }

// Sessions are the sessions that the server keeps: every one of every client,
// those made by [Client.CreateSession] among them. They outlive clients, agents
// and the server.
type Sessions struct{ c *Client }

// Sessions returns the sessions that the server keeps.
func (c *Client) Sessions() *Sessions { return &Sessions{c} }

// Session returns a handle of the session with that id, the server's or the
// agent's, without asking whether there is one.
func (s *Sessions) Session(id string) *ServerSession { return &ServerSession{ID: id, c: s.c} }

// Create starts a session with an agent of its own. Only Agent is required. When
// a setting cannot be made there is no session.
func (s *Sessions) Create(ctx context.Context, req api.SessionCreateRequest) (*ServerSession, error) {
	if req.CWD == "" {
		req.CWD = s.c.dir
	}
	info, err := call[api.Session](ctx, s.c, http.MethodPost, "/v1/sessions", nil, req)
	if err != nil {
		return nil, fmt.Errorf("create session: %w", sessionError(req.Agent, err))
	}
	return s.Session(info.ID), nil
}

// Get describes a session.
func (s *Sessions) Get(ctx context.Context, id string) (*api.Session, error) {
	return s.Session(id).Info(ctx)
}

// Resume starts the agent of a session, if it has none, without giving it
// anything to do. A destroyed session comes back to life. Prompts do the former
// by themselves.
func (s *Sessions) Resume(ctx context.Context, id string) (*ServerSession, error) {
	info, err := call[api.Session](ctx, s.c, http.MethodPost, route("v1", "sessions", id, "restore"), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("resume session %s: %w", id, sessionError("", err))
	}
	return s.Session(info.ID), nil
}

// ResumeOrCreate resumes the session with the id of req and makes its settings,
// or creates it when there is none. It may be called by several at once: one of
// them creates.
func (s *Sessions) ResumeOrCreate(ctx context.Context, req api.SessionCreateRequest) (*ServerSession, error) {
	if req.ID == "" {
		return nil, errors.New("resume or create session: id is empty")
	}
	session, err := s.Resume(ctx, req.ID)
	if errors.Is(err, ErrSessionNotFound) {
		session, err = s.Create(ctx, req)
		if err == nil || !errors.Is(err, ErrSessionExists) {
			return session, err
		}
		session, err = s.Resume(ctx, req.ID)
	}
	if err != nil {
		return nil, err
	}
	for _, setting := range []struct {
		value string
		set   func(context.Context, string) error
	}{{req.Mode, session.SetMode}, {req.Model, session.SetModel}, {req.ThoughtLevel, session.SetThoughtLevel}} {
		if setting.value == "" {
			continue
		}
		if err := setting.set(ctx, setting.value); err != nil {
			return nil, err
		}
	}
	return session, nil
}

// SessionFilter says which sessions are wanted. The zero value wants all.
type SessionFilter struct {
	Status string // one of [api.SessionIdle] and its like
	Agent  string
	Text   string // in the title, the first prompt, an id or the folder
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

// List returns one page of sessions, the newest first. The cursor is empty for
// the first page, and NextCursor of the page before for the others; a limit of 0
// leaves the size to the server.
func (s *Sessions) List(ctx context.Context, filter SessionFilter, cursor string, limit int) (*api.SessionList, error) {
	q := filter.query()
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	list, err := get[api.SessionList](ctx, s.c, "/v1/sessions", q)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return list, nil
}

// All yields sessions, the newest first. An error is the last thing it yields.
func (s *Sessions) All(ctx context.Context, filter SessionFilter) iter.Seq2[api.Session, error] {
	return func(yield func(api.Session, error) bool) {
		cursor := ""
		for {
			list, err := s.List(ctx, filter, cursor, 0)
			if err != nil {
				yield(api.Session{}, err)
				return
			}
			for _, info := range list.Sessions {
				if !yield(info, nil) {
					return
				}
			}
			if cursor = list.NextCursor; cursor == "" {
				return
			}
		}
	}
}

// linesType is the media type of a file of sessions.
const linesType = "application/x-ndjson"

// Exported tells what [Sessions.Export] has written.
type Exported struct {
	Sessions int `json:"sessions"`
	Events   int `json:"events"`
}

// Export writes sessions to w, all of them or those with the ids: lines of JSON,
// which [Sessions.Import] reads. They hold all that the sessions do, secrets in
// their environment too. Sessions go on meanwhile; each is written up to an event
// that was its newest after the call. What was written before an error is no whole
// file, and no server takes it for one.
func (s *Sessions) Export(ctx context.Context, w io.Writer, ids ...string) (Exported, error) {
	q := url.Values{}
	if len(ids) > 0 {
		q.Set("ids", strings.Join(ids, ","))
	}
	resp, err := s.c.fetch(ctx, request{path: "/v1/sessions/export", query: q, accept: linesType})
	if err != nil {
		return Exported{}, fmt.Errorf("export sessions: %w", sessionError("", err))
	}
	defer resp.Body.Close()
	var lines exportLines
	if _, err = io.Copy(io.MultiWriter(w, &lines), resp.Body); err == nil && !lines.ended {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return lines.Exported, fmt.Errorf("export sessions: %w", err)
	}
	return lines.Exported, nil
}

// exportLines counts the lines of an export that are written to it.
type exportLines struct {
	Exported
	ended bool   // the last line was there
	head  []byte // of the line that is not whole yet
}

// How lines of an export begin, and how much of one is needed to know it.
const (
	sessionLine = `{"type":"record","kind":"session",`
	eventLine   = `{"type":"entry",`
	endLine     = `{"type":"end",`
)

func (l *exportLines) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		l.head = append(l.head, part[:min(len(part), len(sessionLine))]...)
		if part[len(part)-1] != '\n' {
			break
		}
		switch {
		case bytes.HasPrefix(l.head, []byte(sessionLine)):
			l.Sessions++
		case bytes.HasPrefix(l.head, []byte(eventLine)):
			l.Events++
		case bytes.HasPrefix(l.head, []byte(endLine)):
			l.ended = true
		}
		l.head = l.head[:0]
	}
	l.head = l.head[:min(len(l.head), len(sessionLine))]
	return len(p), nil
}

// Import reads what [Sessions.Export] has written: all of it, or nothing when there
// is an error. The sessions are in the list when it returns, and the next prompt to
// one brings its agent back. A file that is not whole matches
// [api.CodeInvalidRequest], and one with a session that is there already
// [ErrSessionExists]. Import does not close r.
//
// What starts programs, or answers permission requests, by the word of the file is
// dropped, and listed in the result, unless keep names it: one of [api.ImportParts],
// for example [api.ImportEnv].
func (s *Sessions) Import(ctx context.Context, r io.Reader, keep ...string) (*api.SessionImport, error) {
	body, size := uploadBody(r)
	q := url.Values{}
	if len(keep) > 0 {
		q.Set("keep", strings.Join(keep, ","))
	}
	resp, err := s.c.send(ctx, request{method: http.MethodPost, path: "/v1/sessions/import", query: q, body: body, size: size, media: linesType})
	if err != nil {
		return nil, fmt.Errorf("import sessions: %w", sessionError("", err))
	}
	result, err := decode[api.SessionImport](resp)
	if err != nil {
		return nil, fmt.Errorf("import sessions: %w", err)
	}
	return result, nil
}

// A ServerSession is a session that the server keeps, for whoever asks for it.
// Its methods may be called from several goroutines, and by several clients at
// once. It needs no closing. One that does not exist matches
// [ErrSessionNotFound] in all its methods.
//
// A [Session] in contrast is driven by its client, over the protocol of the
// agent.
type ServerSession struct {
	ID string

	// Queue makes prompts wait for the turn under way instead of failing with
	// [ErrSessionBusy]. It is set before the first prompt.
	Queue bool

	c *Client
}

func (s *ServerSession) route(rest ...string) string {
	return route(append([]string{"v1", "sessions", s.ID}, rest...)...)
}

func (s *ServerSession) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s session %s: %w", doing, s.ID, sessionError("", err))
}

// Info describes the session as it is now.
func (s *ServerSession) Info(ctx context.Context) (*api.Session, error) {
	info, err := get[api.Session](ctx, s.c, s.route(), nil)
	return info, s.failed("get", err)
}

// Usage returns what the session has used since it began.
func (s *ServerSession) Usage(ctx context.Context) (*api.SessionUsage, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return nil, err
	}
	return &info.Usage, nil
}

// Update changes title, metadata or permission policy: what the patch has.
func (s *ServerSession) Update(ctx context.Context, patch api.SessionPatch) (*api.Session, error) {
	info, err := call[api.Session](ctx, s.c, http.MethodPatch, s.route(), nil, patch)
	return info, s.failed("update", err)
}

// Destroy ends the session: its questions and its turn are cancelled, and its
// agent is stopped. Its history is kept. Destroying twice is no error.
func (s *ServerSession) Destroy(ctx context.Context) error {
	return s.failed("destroy", s.c.do(ctx, http.MethodDelete, s.route(), nil, nil))
}

// Purge destroys the session and removes its history.
func (s *ServerSession) Purge(ctx context.Context) error {
	return s.failed("purge", s.c.do(ctx, http.MethodDelete, s.route(), url.Values{"purge": {"true"}}, nil))
}

// Cancel ends the turn under way, whoever started it, and the queued ones. An
// agent that does not obey is stopped; the next prompt brings it back. Without
// anything to cancel it does nothing.
func (s *ServerSession) Cancel(ctx context.Context) (*api.SessionCancelResult, error) {
	result, err := call[api.SessionCancelResult](ctx, s.c, http.MethodPost, s.route("cancel"), nil, nil)
	return result, s.failed("cancel", err)
}

// SetModel chooses a model. One that the agent does not offer is an
// [*UnsupportedValueError], and an agent that offers no choice is an
// [*UnsupportedCategoryError].
func (s *ServerSession) SetModel(ctx context.Context, model string) error {
	return s.set(ctx, "model", api.SessionModelRequest{Model: model})
}

// SetMode chooses a mode; see [ServerSession.SetModel] for what may go wrong.
func (s *ServerSession) SetMode(ctx context.Context, mode string) error {
	return s.set(ctx, "mode", api.SessionModeRequest{ModeID: mode})
}

// SetThoughtLevel chooses how hard the agent thinks; see
// [ServerSession.SetModel] for what may go wrong.
func (s *ServerSession) SetThoughtLevel(ctx context.Context, level string) error {
	return s.set(ctx, "thought-level", api.SessionThoughtLevelRequest{ThoughtLevel: level})
}

// SetConfigOption sets an option of the agent by its id. One that the agent does
// not have is an [*UnsupportedOptionError].
func (s *ServerSession) SetConfigOption(ctx context.Context, id, value string) error {
	return s.set(ctx, "config-options", api.SessionConfigOptionRequest{ConfigID: id, Value: value})
}

func (s *ServerSession) set(ctx context.Context, what string, req any) error {
	return s.failed("set "+what+" of", s.c.do(ctx, http.MethodPost, s.route(what), nil, req))
}

// ConfigOptions returns the options of the agent as they are now.
func (s *ServerSession) ConfigOptions(ctx context.Context) ([]acp.ConfigOption, error) {
	list, err := get[api.SessionConfigOptions](ctx, s.c, s.route("config-options"), nil)
	if err != nil {
		return nil, s.failed("get options of", err)
	}
	return list.ConfigOptions, nil
}

// Modes returns the modes of the agent, none when it has none.
func (s *ServerSession) Modes(ctx context.Context) (*api.SessionModeList, error) {
	list, err := get[api.SessionModeList](ctx, s.c, s.route("modes"), nil)
	return list, s.failed("get modes of", err)
}

// MCPConfig returns the tool servers configured for this session alone.
func (s *ServerSession) MCPConfig(ctx context.Context) (*api.MCPServers, error) {
	set, err := get[api.MCPServers](ctx, s.c, s.route("mcp", "config"), nil)
	return set, s.failed("get tool servers of", err)
}

// SetMCPConfig replaces the tool servers configured for this session alone. They
// count from the next start of its agent on.
func (s *ServerSession) SetMCPConfig(ctx context.Context, set api.MCPServers) error {
	return s.failed("set tool servers of", s.c.do(ctx, http.MethodPut, s.route("mcp", "config"), nil, set))
}

// SkillsConfig returns the skills configured for this session alone.
func (s *ServerSession) SkillsConfig(ctx context.Context) (*api.SkillsSet, error) {
	set, err := get[api.SkillsSet](ctx, s.c, s.route("skills", "config"), nil)
	return set, s.failed("get skills of", err)
}

// SetSkillsConfig replaces the skills configured for this session alone. They
// count from the next start of its agent on.
func (s *ServerSession) SetSkillsConfig(ctx context.Context, set api.SkillsSet) error {
	return s.failed("set skills of", s.c.do(ctx, http.MethodPut, s.route("skills", "config"), nil, set))
}

// The forms of a transcript.
const (
	TranscriptText     = "text"
	TranscriptMarkdown = "markdown"
	TranscriptJSON     = "json" // an [api.SessionTranscript]
)

// Transcript tells what was said and done, in one of the forms above. An empty
// format is [TranscriptText].
func (s *ServerSession) Transcript(ctx context.Context, format string) (string, error) {
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
func (s *ServerSession) Messages(ctx context.Context) ([]api.SessionMessage, error) {
	transcript, err := get[api.SessionTranscript](ctx, s.c, s.route("transcript"), url.Values{"format": {TranscriptJSON}})
	if err != nil {
		return nil, s.failed("get transcript of", err)
	}
	return transcript.Messages, nil
}

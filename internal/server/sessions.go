package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

type sessionInput struct {
	ID string `path:"id" doc:"Id of the session, ours or the agent's"`
}

type sessionListInput struct {
	Page    int    `query:"page" minimum:"1" doc:"From 1"`
	PerPage int    `query:"perPage" minimum:"1" maximum:"1000" doc:"100 when absent"`
	Cursor  string `query:"cursor" doc:"nextCursor of an earlier page; counts before page"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" doc:"Another name for perPage"`
	Status  string `query:"status" enum:"starting,idle,running,waiting,stopped,failed,destroyed"`
	Agent   string `query:"agent"`
	Text    string `query:"q" doc:"Text in title, first prompt, ids or working directory"`
}

type sessionCreateInput struct {
	Body api.SessionCreateRequest
}

type sessionPatchInput struct {
	ID   string `path:"id"`
	Body api.SessionPatch
}

// sessionOp starts the description of an operation on one session.
func sessionOp(id, method, path, summary string) huma.Operation {
	return op(id, method, path, "sessions", summary)
}

// sessionRoutes are the routes of sessions, but for those of permissions.
func (s *Server) sessionRoutes() {
	create := op("createSession", http.MethodPost, "/v1/sessions", "sessions", "Start a session with an agent")
	create.DefaultStatus = http.StatusCreated
	route(s, create, func(ctx context.Context, in *sessionCreateInput) (*body[api.Session], error) {
		return answer(s.sessions.Create(ctx, in.Body))
	})
	route(s, op("listSessions", http.MethodGet, "/v1/sessions", "sessions", "Sessions, the newest first"), s.listSessions)
	route(s, sessionOp("getSession", http.MethodGet, "/v1/sessions/{id}", "One session"), func(_ context.Context, in *sessionInput) (*body[api.Session], error) {
		return answer(s.sessions.Get(in.ID))
	})
	route(s, sessionOp("updateSession", http.MethodPatch, "/v1/sessions/{id}", "Change title, metadata or permissions"), func(ctx context.Context, in *sessionPatchInput) (*body[api.Session], error) {
		return answer(s.sessions.Update(ctx, in.ID, in.Body))
	})
	remove := sessionOp("destroySession", http.MethodDelete, "/v1/sessions/{id}", "End a session for good")
	remove.Description = "Its history is kept, unless purge is true."
	route(s, remove, s.destroySession)
	route(s, sessionOp("restoreSession", http.MethodPost, "/v1/sessions/{id}/restore", "Start the agent of a session without a prompt"), func(ctx context.Context, in *sessionInput) (*body[api.Session], error) {
		return answer(s.sessions.Restore(ctx, in.ID))
	})
	s.sessionFileRoutes()
	s.promptRoute()
	route(s, sessionOp("cancelSession", http.MethodPost, "/v1/sessions/{id}/cancel", "End the turn under way and the queued ones"), func(ctx context.Context, in *sessionInput) (*body[api.SessionCancelResult], error) {
		return answer(s.sessions.Cancel(ctx, in.ID))
	})
	s.sessionSettingRoutes()
	s.sessionEventRoutes()
	sessionConfigRoutes[api.MCPServers](s, session.StoredMCP, "SessionMCPConfig", s.settings.MCP, func(all map[string]api.MCPServer) api.MCPServers { return api.MCPServers{Servers: all} })
	sessionConfigRoutes[api.SkillsSet](s, session.StoredSkills, "SessionSkillsConfig", s.settings.Skills, func(all map[string]api.SkillsConfig) api.SkillsSet { return api.SkillsSet{Skills: all} })
	s.permissionRoutes()
}

func (s *Server) listSessions(_ context.Context, in *sessionListInput) (*body[api.SessionList], error) {
	limit := in.PerPage
	if in.Limit > 0 {
		limit = in.Limit
	}
	return answer(s.sessions.List(session.Query{Status: in.Status, Agent: in.Agent, Text: in.Text, Page: in.Page, Limit: limit, Cursor: in.Cursor}))
}

func (s *Server) destroySession(ctx context.Context, in *struct {
	ID    string `path:"id"`
	Purge bool   `query:"purge" doc:"Remove the history too"`
}) (*struct{}, error) {
	return nil, s.sessions.Destroy(ctx, in.ID, in.Purge)
}

// optionValue describes the two forms of [api.OptionValue].
type optionValue struct{}

func (optionValue) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeBoolean}}}
}

// sessionSettingRoutes are the routes of what an agent lets clients choose.
func (s *Server) sessionSettingRoutes() {
	route(s, sessionOp("setSessionModel", http.MethodPost, "/v1/sessions/{id}/model", "Choose a model"), func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body api.SessionModelRequest
	}) (*body[api.Session], error) {
		return answer(s.sessions.SetModel(ctx, in.ID, in.Body.Model))
	})
	route(s, sessionOp("setSessionMode", http.MethodPost, "/v1/sessions/{id}/mode", "Choose a mode"), func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body api.SessionModeRequest
	}) (*body[api.Session], error) {
		mode := in.Body.Mode
		if mode == "" {
			mode = in.Body.ModeID
		}
		return answer(s.sessions.SetMode(ctx, in.ID, mode))
	})
	route(s, sessionOp("setSessionThoughtLevel", http.MethodPost, "/v1/sessions/{id}/thought-level", "Choose how hard the agent thinks"), func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body api.SessionThoughtLevelRequest
	}) (*body[api.Session], error) {
		return answer(s.sessions.SetThoughtLevel(ctx, in.ID, in.Body.ThoughtLevel))
	})
	route(s, sessionOp("setSessionConfigOption", http.MethodPost, "/v1/sessions/{id}/config-options", "Set an option of the agent"), func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body api.SessionConfigOptionRequest
	}) (*body[api.Session], error) {
		return answer(s.sessions.SetConfigOption(ctx, in.ID, in.Body.ConfigID, string(in.Body.Value)))
	})
	route(s, sessionOp("getSessionConfigOptions", http.MethodGet, "/v1/sessions/{id}/config-options", "Options of the agent"), func(_ context.Context, in *sessionInput) (*body[api.SessionConfigOptions], error) {
		return answer(s.sessions.ConfigOptions(in.ID))
	})
	route(s, sessionOp("getSessionModes", http.MethodGet, "/v1/sessions/{id}/modes", "Modes of the agent"), func(_ context.Context, in *sessionInput) (*body[api.SessionModeList], error) {
		return answer(s.sessions.Modes(in.ID))
	})
}

func sessionParam() *huma.Param {
	return &huma.Param{Name: "id", In: "path", Required: true, Description: "Id of the session, ours or the agent's", Schema: &huma.Schema{Type: "string"}}
}

// promptRoute registers the route of prompts, whose answer has three forms.
func (s *Server) promptRoute() {
	result := s.schema(typeOf[api.SessionTurn]())
	blocks := s.schema(typeOf[acp.Prompt]())
	prompt := sessionOp("promptSession", http.MethodPost, "/v1/sessions/{id}/prompt", "Give the agent something to do")
	prompt.Description = "Answers when the turn has ended. With Accept: text/event-stream the session's events are sent meanwhile, as in events/stream, and the last event is named result or error. With Prefer: respond-async it answers as soon as the prompt is on disk. A client that leaves does not end the turn."
	prompt.Parameters = []*huma.Param{sessionParam(),
		{Name: "Prefer", In: "header", Description: "respond-async", Schema: &huma.Schema{Type: "string"}}}
	prompt.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
		Type: "object", Required: []string{"prompt"},
		Properties: map[string]*huma.Schema{
			"prompt": {OneOf: []*huma.Schema{{Type: "string"}, blocks}, Description: "Text, or content blocks"},
			"queue":  {Type: "boolean", Description: "Wait for the turn under way instead of failing with session_busy"},
		},
	}}}}
	prompt.Responses = map[string]*huma.Response{
		"200": {Description: "How the turn ended", Content: map[string]*huma.MediaType{"application/json": {Schema: result}, "text/event-stream": {}}},
		"202": {Description: "The turn begins", Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema(typeOf[api.SessionTurnStarted]())}}},
	}
	s.handle(prompt, s.promptSession)
}

// readBody decodes the JSON body of a request.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, v any) error {
	data, err := s.readConfig(w, r)
	if err != nil {
		return err
	}
	return decodeBody(data, v)
}

// decodeBody distinguishes what is not JSON from JSON of another shape, as the routes do
// whose bodies are described.
func decodeBody(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var shape *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &shape):
		return api.NewError(api.KindUnprocessable, api.CodeInvalidRequest, "%s: expected %s, not %s",
			cmp.Or(shape.Field, "body"), kindName(shape.Type), shape.Value)
	}
	return api.InvalidRequest(api.CodeInvalidJSON, "decode body: %w", err)
}

// kindName is what JSON calls values of a type.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice:
		return "array"
	}
	return t.Kind().String()
}

func (s *Server) promptSession(w http.ResponseWriter, r *http.Request) error {
	var req api.SessionPromptRequest
	if err := wantJSON(r); err != nil {
		return err
	}
	data, err := s.readContent(w, r)
	if err == nil {
		err = decodeBody(data, &req)
	}
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	turn, err := s.sessions.Prompt(r.Context(), id, req)
	if err != nil {
		return err
	}
	switch {
	case strings.Contains(r.Header.Get("Prefer"), "respond-async"):
		if err := turn.Keep(r.Context()); err != nil {
			return err
		}
		w.Header().Set("Preference-Applied", "respond-async")
		return httpkit.Reply(w, http.StatusAccepted, turn.Started(), nil)
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		return s.streamTurn(w, r, id, turn)
	}
	result, err := turn.Wait(r.Context())
	if err != nil {
		return err
	}
	return httpkit.Reply(w, http.StatusOK, result, nil)
}

// streamTurn sends the events of a session until a turn has ended, and then how
// it did.
func (s *Server) streamTurn(w http.ResponseWriter, r *http.Request, id string, turn session.Turn) error {
	reader, event, err := s.sessions.Follow(id, turn.Started().FirstEvent-1)
	if err != nil {
		return err
	}
	stream, err := httpkit.NewStream(w, r)
	if err != nil {
		return nil // the client has gone
	}
	ended, end := context.WithCancel(r.Context())
	defer end()
	go func() {
		select {
		case <-turn.Done():
			end()
		case <-ended.Done():
		}
	}()
	add := func(e journal.Entry) {
		if !turn.Behind(e.Seq) { // else the next turn's
			stream.Add("message", e.Seq, encodeEvent(event(e)))
		}
	}
	err = stream.Follow(ended, func(ctx context.Context) error { return addBatch(ctx, stream, reader, add) })
	if r.Context().Err() != nil || ended.Err() == nil && !errors.Is(err, io.EOF) {
		return nil // the client has gone, or the events cannot be had
	}
	result, err := turn.Wait(r.Context())
	if err != nil {
		if r.Context().Err() == nil {
			_ = stream.Send("error", 0, s.router.Problem(httpkit.RequestID(w), err))
		}
		return nil
	}
	for reader.Cursor() < result.LastEvent { // what came while the turn ended
		if addBatch(r.Context(), stream, reader, add) != nil {
			return nil
		}
	}
	_ = stream.Send("result", 0, result)
	return nil
}

// addMissing adds the event that takes the place of those that cannot be had.
func addMissing(stream *httpkit.Stream, batch journal.Batch) {
	switch {
	case batch.Reset != nil:
		data, _ := json.Marshal(api.Reset{Cursor: batch.Reset.Cursor, Last: batch.Reset.Last})
		stream.Add("reset", batch.Reset.Last, data)
	case batch.Gap != nil:
		data, _ := json.Marshal(api.Gap{From: batch.Gap.From, To: batch.Gap.To})
		stream.Add("gap", batch.Gap.To, data)
	}
}

// encodeEvent writes an event as one line. It is written by hand because it runs
// for every reader of every event, and the payload needs no second look.
func encodeEvent(e api.SessionEvent) []byte {
	connection, _ := json.Marshal(e.ConnectionID)
	buf := make([]byte, 0, len(e.Payload)+len(connection)+256)
	buf = append(append(append(buf, `{"id":"`...), e.ID...), `","eventIndex":`...)
	buf = strconv.AppendUint(buf, e.EventIndex, 10)
	buf = append(append(append(buf, `,"sessionId":"`...), e.SessionID...), `","createdAt":`...)
	buf = strconv.AppendInt(buf, e.CreatedAt, 10)
	buf = append(append(append(buf, `,"connectionId":`...), connection...), `,"sender":"`...)
	buf = append(append(append(buf, e.Sender...), `","payload":`...), e.Payload...)
	return append(buf, '}')
}

// maxClientName is how many bytes of its name are kept of a client.
const maxClientName = 128

// clientName is who a client says it is, else where it comes from. It refuses
// the names under which the server records what no client does.
func clientName(r *http.Request) (string, error) {
	given := strings.ToValidUTF8(r.Header.Get("X-Client-Name"), "")
	name := strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) && !unicode.IsSpace(c) {
			return -1
		}
		return c
	}, given)), " ")
	if api.ReservedName(name) {
		return "", api.InvalidRequest(api.CodeReservedName, "X-Client-Name %q is a name of the server's own; choose another one", name)
	}
	if name != "" {
		return strings.ToValidUTF8(name[:min(len(name), maxClientName)], ""), nil
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, nil
	}
	return host, nil
}

// sessionEventRoutes are the routes by which the history of a session is read.
func (s *Server) sessionEventRoutes() {
	events := sessionOp("getSessionEvents", http.MethodGet, "/v1/sessions/{id}/events", "Events of a session, in order")
	route(s, events, func(ctx context.Context, in *struct {
		ID      string `path:"id"`
		After   uint64 `query:"after" doc:"Number of an event; those behind it are wanted"`
		Limit   int    `query:"limit" minimum:"1" maximum:"1000" doc:"100 when absent"`
		Page    int    `query:"page" minimum:"1" doc:"From 1; instead of after"`
		PerPage int    `query:"perPage" minimum:"1" maximum:"1000"`
	}) (*body[api.SessionEvents], error) {
		limit := in.PerPage
		if in.Limit > 0 || limit == 0 {
			limit = in.Limit
		}
		if limit == 0 {
			limit = 100
		}
		if in.Page > 0 && in.After == 0 {
			return answer(s.sessions.EventPage(ctx, in.ID, in.Page, limit))
		}
		return answer(s.sessions.Events(ctx, in.ID, in.After, limit))
	})

	follow := sessionOp("streamSessionEvents", http.MethodGet, "/v1/sessions/{id}/events/stream", "Events of a session as they come, as server-sent events")
	follow.Parameters = []*huma.Param{sessionParam(),
		{Name: "after", In: "query", Description: "Start behind this event; 0, the start of the session, when absent", Schema: &huma.Schema{Type: "integer"}},
		{Name: "Last-Event-ID", In: "header", Description: "Counts before after", Schema: &huma.Schema{Type: "integer"}},
		{Name: "X-Client-Name", In: "header", Description: "Who is listed among the clients of the session", Schema: &huma.Schema{Type: "string"}}}
	follow.Responses = map[string]*huma.Response{"200": {Description: "Events named message, and gap for events that are no longer kept", Content: map[string]*huma.MediaType{
		"text/event-stream": {Schema: s.schema(typeOf[api.SessionEvent]())},
	}}}
	s.handle(follow, s.streamSession)

	transcript := sessionOp("getSessionTranscript", http.MethodGet, "/v1/sessions/{id}/transcript", "What was said, for people")
	transcript.Parameters = []*huma.Param{sessionParam(),
		{Name: "format", In: "query", Description: "text when absent", Schema: &huma.Schema{Type: "string", Enum: []any{"text", "markdown", "json"}}}}
	transcript.Responses = map[string]*huma.Response{"200": {Description: "The transcript", Content: map[string]*huma.MediaType{
		"text/plain": {}, "text/markdown": {},
		"application/json": {Schema: s.schema(typeOf[api.SessionTranscript]())},
	}}}
	s.handle(transcript, s.sessionTranscript)
}

func (s *Server) streamSession(w http.ResponseWriter, r *http.Request) error {
	if !httpkit.Accepts(r, "text/event-stream") {
		return api.NewError(api.KindNotAcceptable, "", "accept must allow text/event-stream")
	}
	after, err := eventCursor(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	reader, event, err := s.sessions.Follow(id, after)
	if err != nil {
		return err
	}
	client, err := clientName(r)
	if err != nil {
		return err
	}
	detach, err := s.sessions.Attach(id, client)
	if err != nil {
		return err
	}
	defer detach()
	return s.streamJournal(w, r, reader, nil, func(stream *httpkit.Stream, e journal.Entry) {
		stream.Add("message", e.Seq, encodeEvent(event(e)))
	})
}

func (s *Server) sessionTranscript(w http.ResponseWriter, r *http.Request) error {
	format := r.URL.Query().Get("format")
	switch format {
	case "", "text", "markdown", "json":
	default:
		return api.InvalidRequest(api.CodeInvalidQuery, "format must be text, markdown or json")
	}
	t, err := s.sessions.Transcript(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	content, kind := session.Text(t), "text/plain; charset=utf-8"
	switch format {
	case "json":
		return httpkit.Reply(w, http.StatusOK, t, nil)
	case "markdown":
		content, kind = session.Markdown(t), "text/markdown; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	_, err = io.WriteString(w, content)
	return err
}

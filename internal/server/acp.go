package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/compat"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// acpRoutes are the routes of the Agent Client Protocol.
func (s *Server) acpRoutes() {
	route(s, op("listACPServers", http.MethodGet, "/v1/acp", "acp", "ACP connections"), s.listACP)

	id := &huma.Param{Name: "id", In: "path", Required: true, Description: "Connection id, chosen by the client", Schema: &huma.Schema{Type: "string"}}
	frame := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: "object", Description: "A JSON-RPC frame"}}}

	post := op("postACP", http.MethodPost, "/v1/acp/{id}", "acp", "Send one JSON-RPC frame to an agent")
	post.Description = "Starts the agent with the first frame. A request is answered with the agent's reply, everything else with 202."
	post.Parameters = []*huma.Param{id, {Name: "agent", In: "query", Description: "Agent to start; required with the first frame", Schema: &huma.Schema{Type: "string"}}}
	post.RequestBody = &huma.RequestBody{Required: true, Content: frame}
	post.Responses = map[string]*huma.Response{
		"200": {Description: "The agent's reply", Content: frame},
		"202": {Description: "The agent has the frame"},
	}
	s.handle(post, s.postACP)

	events := op("streamACP", http.MethodGet, "/v1/acp/{id}", "acp", "Everything an agent says, as server-sent events")
	events.Parameters = []*huma.Param{id, {Name: "Last-Event-ID", In: "header", Description: "Start after this event; 0 is before the first one. Without it the stream starts with the present process of the agent.", Schema: &huma.Schema{Type: "integer"}}}
	events.Responses = map[string]*huma.Response{"200": {Description: "Events named message, and gap for events that are no longer kept", Content: map[string]*huma.MediaType{"text/event-stream": {}}}}
	s.handle(events, s.streamACP)

	remove := op("closeACP", http.MethodDelete, "/v1/acp/{id}", "acp", "End an ACP connection and its agent")
	remove.Parameters = []*huma.Param{id}
	remove.Responses = map[string]*huma.Response{"204": {Description: "Ended, or there was none"}}
	s.handle(remove, s.closeACP)
}

type listACPInput struct {
	All bool `query:"all" doc:"Also the connections that sessions have for themselves"`
}

func (s *Server) listACP(_ context.Context, in *listACPInput) (*body[api.ACPServerList], error) {
	list := s.clients.List(in.All)
	slices.SortFunc(list, func(a, b api.ACPServer) int { return strings.Compare(a.ServerID, b.ServerID) })
	return answer(&api.ACPServerList{Servers: list}, nil)
}

func (s *Server) postACP(w http.ResponseWriter, r *http.Request) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		e := api.NewError(api.KindUnsupportedMediaType, "", "content-type must be application/json")
		return e.With("message", "content-type must be application/json")
	}
	if !httpkit.Accepts(r, "application/json") {
		e := api.NewError(api.KindNotAcceptable, "", "accept must allow application/json")
		return e.With("message", "accept must allow application/json")
	}
	arrival := s.clients.Arrive(r.PathValue("id"))
	defer arrival.End()
	frame, err := s.readContent(w, r)
	if err != nil {
		return err
	}
	query, id := r.URL.Query(), r.PathValue("id")
	reply, err := arrival.Post(r.Context(), query.Get("agent"), query.Has("agent"), frame)
	if err != nil {
		return err
	}
	arrival.End() // nothing has to wait for this frame any more
	if reply == nil || s.awaitFollowers(r.Context(), id, frame) && isResult(reply) {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return httpkit.ReplyJSON(w, http.StatusOK, reply)
}

// isResult reports whether a reply is one of the agent, which its event stream has: an
// error may be one that the server made for an agent that has ended.
func isResult(reply []byte) bool {
	result, ok := acp.Member(reply, "result")
	return ok && result != nil
}

// awaitFollowers returns when the reply to a frame may leave: after the events before
// it, see [followers]. It reports whether the client has it from its event stream, and
// takes the status 202 for that: a second copy, from another socket, could overtake the
// events on their way, and one that is held back breaks with the server.
func (s *Server) awaitFollowers(ctx context.Context, id string, frame []byte) (sent bool) {
	follows, either := s.clients.Follows(id, frame)
	return s.followers.await(ctx, id, s.clients.Shown(id), follows) && either
}

func (s *Server) streamACP(w http.ResponseWriter, r *http.Request) error {
	if !httpkit.Accepts(r, "text/event-stream") {
		e := api.NewError(api.KindNotAcceptable, "", "accept must allow text/event-stream")
		return e.With("message", "accept must allow text/event-stream")
	}
	after, err := httpkit.LastEventID(r)
	if err != nil {
		return err
	}
	reader, err := s.clients.Events(r, r.PathValue("id"), after)
	if err != nil {
		return err
	}
	f, remove := s.followers.add(r.PathValue("id"), reader.Cursor())
	defer remove()
	return s.streamJournal(w, r, reader, f.track(reader), func(stream *httpkit.Stream, e journal.Entry) {
		stream.Add("message", e.Seq, e.Frame)
	})
}

func (s *Server) closeACP(w http.ResponseWriter, r *http.Request) error {
	return httpkit.NoContent(w, s.clients.Close(r.Context(), r.PathValue("id")))
}

// streamJournal sends what a journal reader gives until the reader, the client
// or the server ends. It calls written, unless that is nil, whenever all that the
// reader has given was written.
func (s *Server) streamJournal(w http.ResponseWriter, r *http.Request, reader compat.Reader, written func(), add func(*httpkit.Stream, journal.Entry)) error {
	stream, err := httpkit.NewStream(w, r)
	if err != nil {
		return nil // the client has gone
	}
	err = stream.Follow(r.Context(), func(ctx context.Context) error {
		if written != nil {
			written()
		}
		return addBatch(ctx, stream, reader, func(e journal.Entry) { add(stream, e) })
	})
	if !errors.Is(err, io.EOF) && !errors.Is(err, httpkit.ErrGone) && r.Context().Err() == nil {
		s.log.Warn("read journal", "id", httpkit.RequestID(w), "error", err)
	}
	return nil
}

// addBatch adds what a reader gives next to a stream.
func addBatch(ctx context.Context, stream *httpkit.Stream, reader compat.Reader, add func(journal.Entry)) error {
	batch, err := reader.Next(ctx)
	if err != nil {
		return err
	}
	addMissing(stream, batch)
	for _, e := range batch.Entries {
		add(e)
		if err := stream.FlushFull(); err != nil {
			return err
		}
	}
	return nil
}

// eventCursor returns the event behind which a stream starts: Last-Event-ID, else
// the query parameter after, else 0.
func eventCursor(r *http.Request) (uint64, error) {
	cursor, err := httpkit.LastEventID(r)
	switch {
	case err != nil:
		return 0, err
	case cursor != nil:
		return *cursor, nil
	}
	text := r.URL.Query().Get("after")
	if text == "" {
		return 0, nil
	}
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, api.InvalidRequest(api.CodeInvalidCursor, "after must be a number")
	}
	return after, nil
}

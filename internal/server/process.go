package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/process"
)

// processID is the path parameter of the routes of one process.
type processID struct {
	ID string `path:"id" doc:"Process id"`
}

// processRoutes are the routes of processes, their logs and terminals.
func (s *Server) processRoutes() {
	const tag = "processes"
	route(s, op("listProcesses", http.MethodGet, "/v1/processes", tag, "Processes, in the order of their creation"), s.listProcesses)
	route(s, ok200(op("createProcess", http.MethodPost, "/v1/processes", tag, "Start a process")), s.createProcess)
	route(s, op("getProcessConfig", http.MethodGet, "/v1/processes/config", tag, "Limits of processes"), s.getProcessConfig)
	route(s, ok200(op("setProcessConfig", http.MethodPost, "/v1/processes/config", tag, "Change limits of processes; absent members stay")), s.setProcessConfig)
	route(s, ok200(op("runProcess", http.MethodPost, "/v1/processes/run", tag, "Run a process to its end")), s.runProcess)
	route(s, op("getProcess", http.MethodGet, "/v1/processes/{id}", tag, "One process"), s.getProcess)
	route(s, op("deleteProcess", http.MethodDelete, "/v1/processes/{id}", tag, "Forget an ended process and its log"), s.deleteProcess)
	route(s, ok200(op("sendProcessInput", http.MethodPost, "/v1/processes/{id}/input", tag, "Write to the standard input of a process")), s.sendProcessInput)
	route(s, ok200(op("closeProcessStdin", http.MethodPost, "/v1/processes/{id}/stdin/close", tag, "End the standard input of a process")), s.closeProcessStdin)
	route(s, ok200(op("resizeTerminal", http.MethodPost, "/v1/processes/{id}/terminal/resize", tag, "Change the size of a terminal")), s.resizeTerminal)

	id := &huma.Param{Name: "id", In: "path", Required: true, Description: "Process id", Schema: &huma.Schema{Type: "string"}}
	for _, verb := range []struct {
		id, path, summary string
		send              signaller
	}{
		{"stopProcess", "stop", "Ask a process and everything it started to end", s.processes.Stop},
		{"killProcess", "kill", "Kill a process and everything it started", s.processes.Kill},
		{"signalProcess", "signal", "Send a signal to a process and everything it started", s.processes.Signal},
	} {
		o := op(verb.id, http.MethodPost, "/v1/processes/{id}/"+verb.path, tag, verb.summary)
		o.Parameters = []*huma.Param{id, query("waitMs", "integer", "How long to wait for the end, milliseconds"), query("signal", "string", "Another signal: a name with or without SIG, or a number")}
		o.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema(typeOf[api.ProcessSignalRequest]())}}}
		o.Responses = map[string]*huma.Response{"200": s.jsonResponse("The process after the signal", typeOf[api.ProcessInfo]())}
		s.handle(o, signalProcess(s, verb.send))
	}

	logs := op("getProcessLogs", http.MethodGet, "/v1/processes/{id}/logs", tag, "Output of a process, as a list or as server-sent events")
	logs.Parameters = []*huma.Param{
		id, choice("stream", "combined when absent", "stdout", "stderr", "combined", "pty"), query("since", "integer", "Only entries with a greater sequence"),
		query("tail", "integer", "Only so many of the last entries"), query("limit", "integer", "Only so many of the first entries"),
		query("follow", "boolean", "Stream entries as events named log; gap names what is no longer kept, exit says that the process has ended"),
		{Name: "Last-Event-ID", In: "header", Description: "The same as since", Schema: &huma.Schema{Type: "integer", Minimum: new(float64)}},
	}
	logs.Responses = map[string]*huma.Response{"200": s.jsonResponse("Entries", typeOf[api.ProcessLogs]())}
	logs.Responses["200"].Content["text/event-stream"] = &huma.MediaType{}
	s.handle(logs, s.getProcessLogs)

	terminal := op("connectTerminal", http.MethodGet, "/v1/processes/{id}/terminal/ws", tag, "Terminal of a process, as a WebSocket")
	terminal.Description = "Output comes as binary frames, everything else as JSON text frames: ready, gap, exit and error from the server; input, resize and close from the client."
	terminal.Parameters = []*huma.Param{id, query("since", "integer", "Replay output from this offset in bytes; without it only new output is sent"), query("access_token", "string", "The token, for clients that cannot set headers")}
	terminal.Responses = map[string]*huma.Response{"101": {Description: "The WebSocket"}}
	s.handle(terminal, s.connectTerminal)
}

// ok200 makes 200 the status of a POST that has an answer.
func ok200(o huma.Operation) huma.Operation {
	o.DefaultStatus = http.StatusOK
	return o
}

// query describes a parameter that a handler reads by itself. Numbers are not negative.
func query(name, kind, doc string) *huma.Param {
	p := &huma.Param{Name: name, In: "query", Description: doc, Schema: &huma.Schema{Type: kind}}
	if kind == huma.TypeInteger {
		p.Schema.Minimum = new(float64)
	}
	return p
}

// choice is query with a closed set of values.
func choice(name, doc string, values ...any) *huma.Param {
	p := query(name, huma.TypeString, doc)
	p.Schema.Enum = values
	return p
}

// one is the least length of what may not be empty.
var one = func() *int { n := 1; return &n }()

type listProcessesInput struct {
	Owner string `query:"owner" doc:"user, desktop or system"`
}

func (s *Server) listProcesses(_ context.Context, in *listProcessesInput) (*body[api.ProcessList], error) {
	return answer(s.processes.List(api.ProcessOwner(in.Owner)))
}

func (s *Server) createProcess(_ context.Context, in *struct{ Body api.ProcessCreateRequest }) (*body[api.ProcessInfo], error) {
	return answer(s.processes.Create(in.Body, api.OwnerUser))
}

func (s *Server) getProcessConfig(context.Context, *struct{}) (*body[api.ProcessConfig], error) {
	config := s.processes.Config()
	return answer(&config, nil)
}

func (s *Server) setProcessConfig(_ context.Context, in *struct{ Body api.ProcessConfigPatch }) (*body[api.ProcessConfig], error) {
	return answer(s.processes.SetConfig(in.Body))
}

func (s *Server) runProcess(ctx context.Context, in *struct{ Body api.ProcessRunRequest }) (*body[api.ProcessRunResult], error) {
	ctx, cancel := s.untilStop(ctx)
	defer cancel()
	return answer(s.processes.Run(ctx, in.Body))
}

func (s *Server) getProcess(_ context.Context, in *processID) (*body[api.ProcessInfo], error) {
	return answer(s.processes.Get(in.ID))
}

func (s *Server) deleteProcess(_ context.Context, in *processID) (*struct{}, error) {
	return nil, s.processes.Delete(in.ID)
}

type processInput struct {
	ID   string `path:"id" doc:"Process id"`
	Body api.ProcessInputRequest
}

func (s *Server) sendProcessInput(ctx context.Context, in *processInput) (*body[api.ProcessInputResult], error) {
	encoding := ""
	if in.Body.Encoding != nil {
		encoding = *in.Body.Encoding
	}
	data, err := process.DecodeInput(in.Body.Data, encoding, "base64")
	if err != nil {
		return nil, err
	}
	n, err := s.processes.Input(ctx, in.ID, data)
	return answer(&api.ProcessInputResult{BytesWritten: n}, err)
}

func (s *Server) closeProcessStdin(ctx context.Context, in *processID) (*body[api.ProcessInfo], error) {
	if err := s.processes.CloseStdin(ctx, in.ID); err != nil {
		return nil, err
	}
	return answer(s.processes.Get(in.ID))
}

type terminalResize struct {
	ID   string `path:"id" doc:"Process id"`
	Body api.TerminalSize
}

func (s *Server) resizeTerminal(_ context.Context, in *terminalResize) (*body[api.TerminalSize], error) {
	return answer(&in.Body, s.processes.Resize(in.ID, in.Body))
}

type signaller func(ctx context.Context, id, signal string, wait time.Duration) (*api.ProcessInfo, error)

// maxWait bounds waitMs.
const maxWait = 10 * time.Minute

// signalProcess handles stop, kill and signal. The signal is in the query or in
// the body; a body that does not hold one is ignored, as it always was.
func signalProcess(s *Server, send signaller) httpkit.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		wait, err := queryUint(r, "waitMs")
		if err != nil {
			return err
		}
		signal := r.URL.Query().Get("signal")
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.limits.MaxBodyBytes))
		if err != nil {
			return err
		}
		var named struct{ Signal json.RawMessage }
		if signal == "" && json.Unmarshal(data, &named) == nil && string(named.Signal) != "null" {
			signal = strings.Trim(string(named.Signal), `"`)
		}
		ctx, cancel := s.untilStop(r.Context())
		defer cancel()
		info, err := send(ctx, r.PathValue("id"), signal, time.Duration(min(wait, uint64(maxWait.Milliseconds())))*time.Millisecond)
		if err != nil {
			return err
		}
		return httpkit.Reply(w, http.StatusOK, info, nil)
	}
}

func (s *Server) getProcessLogs(w http.ResponseWriter, r *http.Request) error {
	q, follow, err := logQuery(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if !follow {
		logs, err := s.processes.Logs(id, q)
		if err != nil {
			return err
		}
		return httpkit.Reply(w, http.StatusOK, logs, nil)
	}
	follower, err := s.processes.Follow(id, q)
	if err != nil {
		return err
	}
	defer follower.Close()
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	s.streamLogs(w, r.WithContext(ctx), id, follower)
	return nil
}

// logQuery reads what part of a log is asked for. Last-Event-ID is what a client
// sends that was here before, so it wins over since.
func logQuery(r *http.Request) (q process.LogQuery, follow bool, err error) {
	values := r.URL.Query()
	q.Stream = api.LogStream(values.Get("stream"))
	if q.Since, err = queryUint(r, "since"); err != nil {
		return q, false, err
	}
	if cursor, err := httpkit.LastEventID(r); err != nil {
		return q, false, err
	} else if cursor != nil {
		q.Since = *cursor
	}
	limit, err := queryUint(r, "limit")
	if err != nil {
		return q, false, err
	}
	q.Limit = int(min(limit, 1<<30))
	if values.Has("tail") {
		tail, err := queryUint(r, "tail")
		if err != nil {
			return q, false, err
		}
		n := int(min(tail, 1<<30))
		q.Tail = &n
	}
	switch values.Get("follow") {
	case "true":
		follow = true
	case "", "false":
	default:
		return q, false, api.InvalidRequest(api.CodeInvalidQuery, "follow must be true or false")
	}
	return q, follow, nil
}

// queryUint reads a number from the query; absent is 0.
func queryUint(r *http.Request, key string) (uint64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, api.InvalidRequest(api.CodeInvalidQuery, "%s must be a number that is not negative", key)
	}
	return n, nil
}

// streamLogs sends entries as events until the process, the client or the server
// ends.
func (s *Server) streamLogs(w http.ResponseWriter, r *http.Request, id string, follower *process.Follower) {
	stream, err := httpkit.NewStream(w, r)
	if err != nil {
		return // the client has gone
	}
	err = stream.Follow(r.Context(), func(ctx context.Context) error {
		batch, err := follower.Next(ctx)
		if err != nil {
			return err
		}
		return addLogs(stream, batch)
	})
	if errors.Is(err, io.EOF) {
		if info, err := s.processes.Get(id); err == nil {
			_ = stream.Send("exit", 0, info)
		}
	}
}

// addLogs adds a batch of entries to a stream.
func addLogs(stream *httpkit.Stream, batch process.LogBatch) error {
	if batch.Gap != nil {
		data, _ := json.Marshal(batch.Gap)
		stream.Add("gap", batch.Gap.To, data)
	}
	for i := range batch.Entries {
		e := &batch.Entries[i]
		buf := stream.Buffer()
		buf.Grow(base64.StdEncoding.EncodedLen(len(e.Data)) + logEntryRest)
		buf.Write(appendLogEvent(buf.AvailableBuffer(), e))
		if stream.Size() >= logFlushBytes {
			if err := stream.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// logFlushBytes is how much of a log goes out in one write.
	logFlushBytes = 256 << 10

	// logEntryRest is more than an event has besides the data of its entry.
	logEntryRest = 256
)

// appendLogEvent appends the event of an entry, encoded as json.Marshal does: in
// place, since the data of a busy log is much.
func appendLogEvent(b []byte, e *api.LogEntry) []byte {
	b = append(b, "event: log\nid: "...)
	b = strconv.AppendUint(b, e.Sequence, 10)
	b = append(b, "\ndata: {\"sequence\":"...)
	b = strconv.AppendUint(b, e.Sequence, 10)
	b = append(b, `,"stream":"`...)
	b = append(b, e.Stream...)
	b = append(b, `","timestampMs":`...)
	b = strconv.AppendInt(b, e.TimestampMs, 10)
	b = append(b, `,"data":"`...)
	b = base64.StdEncoding.AppendEncode(b, e.Data)
	b = append(b, `","encoding":"base64"`...)
	if e.SkippedBytes > 0 {
		b = append(b, `,"skippedBytes":`...)
		b = strconv.AppendInt(b, e.SkippedBytes, 10)
	}
	return append(b, "}\n\n"...)
}

// untilStop returns a context that ends with ctx or with the server.
func (s *Server) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.base, cancel)
	return ctx, func() { stop(); cancel() }
}

// jsonResponse describes an answer that is a wire type.
func (s *Server) jsonResponse(doc string, t reflect.Type) *huma.Response {
	return &huma.Response{Description: doc, Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema(t)}}}
}

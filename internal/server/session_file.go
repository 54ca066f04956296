package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
)

// linesType is the type of a file of sessions: JSON, one value on a line.
const linesType = "application/x-ndjson"

// sessionFileRoutes are the routes by which sessions leave a server and come to
// another one.
func (s *Server) sessionFileRoutes() {
	lines := map[string]*huma.MediaType{linesType: {Schema: &huma.Schema{Type: "string"}}}

	export := op("exportSessions", http.MethodGet, "/v1/sessions/export", "sessions", "Sessions as a file that import reads")
	export.Description = "Lines of JSON with all that the sessions hold, but references in place of the values of variables, headers, and tokens. Sessions go on meanwhile; each is in the file up to an event that was its newest after the request. A file that is whole ends with a line of the type end."
	export.Parameters = []*huma.Param{{Name: "ids", In: "query", Description: "Ids, with commas between them; all sessions when absent", Schema: &huma.Schema{Type: "string"}}}
	export.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: lines}}
	s.handle(export, s.exportSessions)

	imports := op("importSessions", http.MethodPost, "/v1/sessions/import", "sessions", "Read what export has written, all or nothing")
	imports.Description = "The sessions are in the list when this answers, stopped; the next prompt to one brings its agent back. Nothing is changed by a file that is not whole, or that has a session which is there already."
	imports.Parameters = []*huma.Param{{Name: "keep", In: "query", Schema: &huma.Schema{Type: "string"},
		Description: "What else to take from the file, with commas between: " + strings.Join(api.ImportParts, ", ") + ". Without it these parts are dropped, and the answer says what was there, as they start programs or answer permission requests by the word of the file."}}
	imports.RequestBody = &huma.RequestBody{Required: true, Content: lines}
	imports.Responses = map[string]*huma.Response{"200": s.jsonResponse("OK", typeOf[api.SessionImport]())}
	s.handle(imports, s.importSessions)
}

func (s *Server) exportSessions(w http.ResponseWriter, r *http.Request) error {
	var ids []string
	if given, ok := r.URL.Query()["ids"]; ok {
		ids = strings.Split(given[0], ",")
	}
	write, err := s.sessions.Export(ids)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", linesType)
	if r.Method == http.MethodHead {
		return nil
	}
	err = write(r.Context(), w)
	if err != nil && httpkit.Answered(w) {
		s.log.Warn("send sessions", "id", httpkit.RequestID(w), "error", err)
		panic(http.ErrAbortHandler) // a broken transfer, not a short file
	}
	return err
}

func (s *Server) importSessions(w http.ResponseWriter, r *http.Request) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != linesType {
		return api.NewError(api.KindUnsupportedMediaType, "", "content-type must be %s", linesType)
	}
	keep, err := importParts(r)
	if err != nil {
		return err
	}
	limit := s.limits.MaxUploadBytes
	if r.ContentLength > limit {
		return api.TooLarge("maxUploadBytes", limit)
	}
	result, err := s.sessions.Import(r.Context(), http.MaxBytesReader(w, r.Body, limit), keep)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return api.TooLarge("maxUploadBytes", limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return api.InvalidRequest(api.CodeInvalidRequest, "the body breaks off: %w", err)
	case err != nil:
		return err
	}
	return httpkit.Reply(w, http.StatusOK, result, nil)
}

// importParts are the parts of sessions that an import is asked to keep.
func importParts(r *http.Request) ([]string, error) {
	given := r.URL.Query().Get("keep")
	if given == "" {
		return nil, nil
	}
	keep := strings.Split(given, ",")
	for _, part := range keep {
		if !slices.Contains(api.ImportParts, part) {
			return nil, api.InvalidRequest(api.CodeInvalidQuery, "keep %q: sessions have no such part; choose among %s", part, strings.Join(api.ImportParts, ", "))
		}
	}
	return keep, nil
}

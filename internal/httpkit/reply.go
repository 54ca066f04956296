package httpkit

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Reply answers with a status and a value as JSON, in which text stands as it is. It
// is for handlers that end with a result and an error: if err is not nil it returns
// it and writes nothing.
func Reply(w http.ResponseWriter, status int, v any, err error) error {
	if err != nil {
		return err
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	return ReplyJSON(w, status, bytes.TrimSuffix(data.Bytes(), []byte{'\n'}))
}

// ReplyJSON answers with a status and JSON that is encoded already.
func ReplyJSON(w http.ResponseWriter, status int, data []byte) error {
	return reply(w, status, "application/json", data)
}

// reply answers with a status and a whole body.
func reply(w http.ResponseWriter, status int, mediaType string, data []byte) error {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that has gone is not an error of ours
	return nil
}

// NoContent answers with 204, unless err is not nil, which it returns.
func NoContent(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// LastEventID returns the cursor of a request for an event stream, or nil.
func LastEventID(r *http.Request) (*uint64, error) {
	text := strings.TrimSpace(r.Header.Get("Last-Event-ID"))
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidCursor, "Last-Event-ID must be a positive integer")
	}
	return &n, nil
}

// Accepts reports whether the Accept header is absent or allows a media type.
func Accepts(r *http.Request, media string) bool {
	header := r.Header.Values("Accept")
	if len(header) == 0 {
		return true
	}
	kind, _, _ := strings.Cut(media, "/")
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(part)) {
			case media, kind + "/*", "*/*":
				return true
			}
		}
	}
	return false
}

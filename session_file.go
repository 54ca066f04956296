package sandboxagent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// linesType is the media type of a file of sessions.
const linesType = "application/x-ndjson"

// Exported says what [Client.ExportSessions] has written.
type Exported struct {
	Sessions int `json:"sessions"`
	Events   int `json:"events"`
}

// ExportSessions writes sessions to w, all of them or those with the ids: lines of JSON,
// which [Client.ImportSessions] reads. They hold all that the sessions do, secrets in
// their environment too. Sessions go on meanwhile; each is written up to an event
// that was its newest after the call. What was written before an error is not a
// whole file, and every server refuses it.
func (c *Client) ExportSessions(ctx context.Context, w io.Writer, ids ...string) (Exported, error) {
	q := url.Values{}
	if len(ids) > 0 {
		q.Set("ids", strings.Join(ids, ","))
	}
	resp, err := c.fetch(ctx, request{path: "/v1/sessions/export", query: q, accept: linesType})
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

// ImportOptions say what an import takes from its file.
type ImportOptions struct {
	Keep []string // parts that are dropped otherwise, of [api.ImportParts], for example [api.ImportEnv]
}

// ImportSessions reads what [Client.ExportSessions] has written: all of it, or nothing when there
// is an error. The sessions are in the list when it returns, and the next prompt to
// one brings its agent back. A file that is not whole matches
// [api.CodeInvalidRequest], and one with a session that is there already
// [ErrSessionExists]. ImportSessions does not close r.
//
// What starts programs, or answers permission requests, by the word of the file is
// dropped, and listed in the result, unless opts keeps it.
func (c *Client) ImportSessions(ctx context.Context, r io.Reader, opts ImportOptions) (*api.SessionImport, error) {
	body, size := uploadBody(r)
	q := url.Values{}
	if len(opts.Keep) > 0 {
		q.Set("keep", strings.Join(opts.Keep, ","))
	}
	resp, err := c.send(ctx, request{method: http.MethodPost, path: "/v1/sessions/import", query: q, body: body, size: size, media: linesType})
	if err != nil {
		return nil, fmt.Errorf("import sessions: %w", sessionError("", err))
	}
	result, err := decode[api.SessionImport](resp)
	if err != nil {
		return nil, fmt.Errorf("import sessions: %w", err)
	}
	return result, nil
}

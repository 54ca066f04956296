package sandboxagent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// Sessions move to another server, and nothing moves that is not whole.
func TestExportAndImport(t *testing.T) {
	ctx := testContext(t)
	from, to := newServer(t), newServer(t)
	session := newSession(t, from.Client, sandboxagent.SessionOptions{ID: "talk"})
	last := mustPrompt(t, session, "my word is pelican").LastEvent
	newSession(t, from.Client, sandboxagent.SessionOptions{ID: "other"})

	var all, one bytes.Buffer
	if done, err := from.ExportSessions(ctx, &all); err != nil || done.Sessions != 2 || done.Events <= int(last) {
		t.Errorf("exported %+v, %v", done, err)
	}
	if done, err := from.ExportSessions(ctx, &one, "talk"); err != nil || done != (sandboxagent.Exported{Sessions: 1, Events: int(last)}) {
		t.Fatalf("exported %+v, %v", done, err)
	}
	var none bytes.Buffer
	if _, err := from.ExportSessions(ctx, &none, "talk", "nobody"); !errors.Is(err, sandboxagent.ErrSessionNotFound) || none.Len() > 0 {
		t.Errorf("export of no session: %v, %q", err, &none)
	}
	cut := one.String()[:one.Len()*2/3]
	if _, err := to.ImportSessions(ctx, strings.NewReader(cut), sandboxagent.ImportOptions{}); !errors.Is(err, api.CodeInvalidRequest) {
		t.Errorf("import of a cut file: %v", err)
	}
	done, err := to.ImportSessions(ctx, io.MultiReader(bytes.NewReader(one.Bytes())), sandboxagent.ImportOptions{}) // of a length that is not known
	if err != nil || len(done.Sessions) != 1 || done.Sessions[0] != "talk" || done.Events != int(last) {
		t.Fatalf("imported %+v, %v", done, err)
	}
	if _, err := to.ImportSessions(ctx, &all, sandboxagent.ImportOptions{}); !errors.Is(err, sandboxagent.ErrSessionExists) {
		t.Errorf("import of what is there: %v", err)
	}
	moved := newSession(t, from.Client, sandboxagent.SessionOptions{ID: "moved", Env: map[string]string{"KEY": "value"}})
	var file bytes.Buffer
	if _, err := from.ExportSessions(ctx, &file, moved.ID); err != nil {
		t.Fatal(err)
	}
	if done, err = to.ImportSessions(ctx, bytes.NewReader(file.Bytes()), sandboxagent.ImportOptions{}); err != nil || len(done.Dropped) != 1 || done.Dropped[0].Part != api.ImportEnv {
		t.Errorf("imported %+v, %v", done, err)
	}
	if done, err = newServer(t).ImportSessions(ctx, &file, sandboxagent.ImportOptions{Keep: []string{api.ImportEnv}}); err != nil || len(done.Dropped) != 0 {
		t.Errorf("imported with its environment %+v, %v", done, err)
	}
	if turn := mustPrompt(t, to.Session("talk"), "what did I say"); !strings.Contains(turn.Text, "pelican") {
		t.Errorf("it said %q", turn.Text)
	}

	left, leave := context.WithCancel(ctx)
	leave()
	if _, err := from.ExportSessions(left, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("export that was left: %v", err)
	}
	if _, err := to.ImportSessions(left, strings.NewReader(cut), sandboxagent.ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("import that was left: %v", err)
	}
}

// Who leaves need not wait for what the content is read from.
func TestLeaveWhileReading(t *testing.T) {
	s := newServer(t)
	for name, send := range map[string]func(context.Context, io.Reader) error{
		"import": func(ctx context.Context, r io.Reader) error {
			_, err := s.ImportSessions(ctx, r, sandboxagent.ImportOptions{})
			return err
		},
		"put": func(ctx context.Context, r io.Reader) error {
			return s.Put(ctx, "file", r, sandboxagent.WriteOptions{})
		},
	} {
		r, w := io.Pipe()
		ctx, leave := context.WithCancel(testContext(t))
		sent := make(chan error, 1)
		go func() { sent <- send(ctx, r) }()
		if _, err := w.Write(make([]byte, 16<<20)); err != nil { // more than is on the way: the server reads
			t.Fatal(err)
		}
		leave()
		if err := <-sent; !errors.Is(err, context.Canceled) {
			t.Errorf("%s that was left: %v", name, err)
		}
		w.Close()
	}
}

// cutBody ends answers early, as something on the way may do.
type cutBody struct{ by int64 }

func (c cutBody) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/export") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(io.LimitReader(bytes.NewReader(body), int64(len(body))-c.by))
	return resp, err
}

func TestExportCut(t *testing.T) {
	for _, by := range []int64{0, 1, 20, 500, 1 << 20} {
		s := newServer(t, sandboxagent.WithHTTPClient(&http.Client{Transport: cutBody{by}}))
		session := newSession(t, s.Client, sandboxagent.SessionOptions{})
		mustPrompt(t, session, "/burst 100")
		if _, err := s.ExportSessions(testContext(t), io.Discard); (by > 0) != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("export without the last %d bytes: %v", by, err)
		}
	}
}

package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/process"
)

// frameOverhead is what a frame of a terminal's viewer may have besides its input.
const frameOverhead = 4 << 10

// connectTerminal shows a terminal to a viewer and takes its input. The viewer
// has a cursor on the output, so that a slow one misses nothing: the process
// waits for it, unless it stalls. Close codes: 1000 after exit or when the viewer
// asked, 1001 when the server stops, 1011 if the server failed.
func (s *Server) connectTerminal(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	var since *uint64
	if r.URL.Query().Has("since") {
		n, err := queryUint(r, "since")
		if err != nil {
			return err
		}
		since = &n
	}
	viewer, err := s.processes.View(id, since)
	if err != nil {
		return err
	}
	defer viewer.Close()
	if err := checkUpgrade(r); err != nil {
		return err
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // every request's origin was checked before the route
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil // it has been answered
	}
	t := &terminal{server: s, id: id, conn: conn, viewer: viewer}
	t.serve()
	return nil
}

// checkUpgrade refuses what is not a WebSocket handshake.
func checkUpgrade(r *http.Request) error {
	switch {
	case !headerHas(r, "Connection", "upgrade"):
		return api.InvalidRequest("", "Connection header did not include 'upgrade'")
	case !headerHas(r, "Upgrade", "websocket"):
		return api.InvalidRequest("", "Upgrade header did not include 'websocket'")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return api.InvalidRequest("", "Sec-WebSocket-Version header did not include '13'")
	case r.Header.Get("Sec-WebSocket-Key") == "":
		return api.InvalidRequest("", "Sec-WebSocket-Key header missing")
	}
	return nil
}

func headerHas(r *http.Request, key, token string) bool {
	for _, line := range r.Header.Values(key) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// terminal is one viewer's connection.
type terminal struct {
	server *Server
	id     string
	conn   *websocket.Conn
	viewer *process.Viewer
	pings  sync.WaitGroup
}

// closeGrace is how long a viewer has for its last frames when the server stops.
func (t *terminal) closeGrace() time.Duration {
	return milliseconds(t.server.limits.ShutdownTimeoutMs) / 10
}

// serve runs until the process, the viewer or the server ends. It writes; a
// goroutine that it waits for reads. The server waits for it.
func (t *terminal) serve() {
	t.server.background.Add(1)
	defer t.server.background.Done()
	stop := context.AfterFunc(t.server.base, func() {
		time.AfterFunc(t.closeGrace(), func() { t.conn.CloseNow() })
	})
	defer stop()
	// Base64 makes four of three bytes, JSON up to six of one.
	t.conn.SetReadLimit(6*t.server.processes.Config().MaxInputBytesPerReq + frameOverhead)
	ctx, cancel := context.WithCancel(t.server.base)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer cancel()
		t.read(ctx)
	}()
	err := t.write(ctx)
	switch {
	case err == nil:
		t.conn.Close(websocket.StatusNormalClosure, "")
	case t.server.base.Err() != nil:
		t.conn.Close(websocket.StatusGoingAway, "server is stopping")
	case ctx.Err() == nil:
		t.conn.Close(websocket.StatusInternalError, "")
	}
	cancel()
	t.conn.CloseNow()
	<-read
	t.pings.Wait()
}

// write sends what the terminal shows. It returns nil after the exit was sent.
func (t *terminal) write(ctx context.Context) error {
	offset := t.viewer.Offset()
	if err := t.send(api.TerminalEvent{Type: "ready", ProcessID: t.id, Offset: &offset}); err != nil {
		return err
	}
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, httpkit.Heartbeat)
		screen, err := t.viewer.Next(wait)
		idle := wait.Err() != nil
		cancel()
		if err != nil && idle && ctx.Err() == nil && !errors.Is(err, io.EOF) {
			t.ping(ctx)
			continue
		}
		if errors.Is(err, io.EOF) {
			exit := t.viewer.Exit()
			return t.send(api.TerminalEvent{Type: "exit", ExitCode: exit.Code, ExitSignal: exit.Signal})
		}
		if err != nil {
			return err
		}
		if screen.Gap {
			if err := t.send(api.TerminalEvent{Type: "gap", From: &screen.From, To: &screen.Offset}); err != nil {
				return err
			}
		}
		if len(screen.Data) > 0 {
			if err := t.conn.Write(context.Background(), websocket.MessageBinary, screen.Data); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// ping keeps what is between an idle terminal and its viewer from closing the
// connection. It waits for nothing, and a viewer that does not answer stays: one
// that has stopped reading is treated like a slow one.
func (t *terminal) ping(ctx context.Context) {
	t.pings.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, httpkit.Heartbeat)
		defer cancel()
		_ = t.conn.Ping(ctx)
	})
}

// send writes a text frame. Like all reading and writing here it is without a
// context, since one that ends would close the connection without a code.
func (t *terminal) send(event api.TerminalEvent) error {
	data, err := json.Marshal(event)
	if err != nil {
		return err
	}
	return t.conn.Write(context.Background(), websocket.MessageText, data)
}

// read takes the frames of the viewer until it closes. What is wrong with a
// frame is reported to the viewer, and the connection goes on.
func (t *terminal) read(ctx context.Context) {
	for {
		kind, data, err := t.conn.Read(context.Background())
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			err = errors.New("binary input is not supported; use text JSON frames")
		} else {
			err = t.take(ctx, data)
		}
		if errors.Is(err, errDetach) {
			t.conn.Close(websocket.StatusNormalClosure, "")
			return
		}
		if err != nil && t.send(api.TerminalEvent{Type: "error", Message: err.Error()}) != nil {
			return
		}
	}
}

// errDetach says that the viewer wants to leave.
var errDetach = errors.New("detach")

func (t *terminal) take(ctx context.Context, data []byte) error {
	var frame api.TerminalInput
	if err := json.Unmarshal(data, &frame); err != nil {
		return errors.New("invalid terminal frame: " + err.Error())
	}
	switch frame.Type {
	case "input":
		encoding := ""
		if frame.Encoding != nil {
			encoding = *frame.Encoding
		}
		input, err := process.DecodeInput(frame.Data, encoding, "text")
		if err != nil {
			return err
		}
		_, err = t.server.processes.Input(ctx, t.id, input)
		return err
	case "resize":
		return t.server.processes.Resize(t.id, api.TerminalSize{Cols: frame.Cols, Rows: frame.Rows})
	case "close":
		return errDetach
	}
	return errors.New("invalid terminal frame: unknown type `" + frame.Type + "`, expected one of `input`, `resize`, `close`")
}

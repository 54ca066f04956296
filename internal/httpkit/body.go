package httpkit

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// sentBody is the body of a request. It knows whether all of it was read, and does not
// wait for one that has stopped to move.
type sentBody struct {
	io.Reader
	rc    *http.ResponseController
	stall time.Duration // 0 waits without a bound
	armed time.Time     // when a read that has not moved ends; zero is never
	ended bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.arm()
	n, err := b.Reader.Read(p)
	switch {
	case err == io.EOF:
		b.ended = true
		b.disarm()
	case errors.Is(err, os.ErrDeadlineExceeded) && !b.armed.IsZero():
		err = brokenBody{stalledBody(b.stall)}
	case err != nil:
		err = brokenBody{err}
	}
	return n, err
}

// arm sets the deadline of the next read, unless one that is far enough is set.
func (b *sentBody) arm() {
	if b.stall <= 0 {
		return
	}
	now := time.Now()
	if b.armed.Sub(now) > b.stall*3/4 {
		return
	}
	if end := now.Add(b.stall); b.rc.SetReadDeadline(end) == nil {
		b.armed = end
	}
}

// disarm lets the connection wait for the next request.
func (b *sentBody) disarm() {
	if !b.armed.IsZero() && b.rc.SetReadDeadline(time.Time{}) == nil {
		b.armed = time.Time{}
	}
}

// stalledBody is the problem of a body that does not move.
func stalledBody(stall time.Duration) *api.Error {
	ms := stall.Milliseconds()
	e := api.NewError(api.KindTimeout, "", "read the body: nothing arrived for bodyStallMs (%d); send it again", ms)
	e.Status = http.StatusRequestTimeout
	return e.With("limit", "bodyStallMs").With("value", ms)
}

// brokenBody says why the rest of a body cannot be had.
type brokenBody struct{ error }

func (e brokenBody) Unwrap() error { return e.error }

// How long and how much a request may go on sending when it has been answered. A
// client that is not authorized has the shorter times.
const (
	hearOutTime    = 30 * time.Second
	hearOutBytes   = 1 << 30
	strangersTime  = 5 * time.Second
	strangersStall = time.Second
)

// hearOut reads what an answered request still sends: a client that listens only
// when it has sent all finds its connection broken otherwise, and not the answer.
// One that expects 100-continue listens before. What is left unread ends the
// connection.
func (b *sentBody) hearOut(rec *recorder, r *http.Request) {
	if b.ended || rec.status == http.StatusSwitchingProtocols {
		return
	}
	total := hearOutTime
	if !trusted(r) {
		total, b.stall = strangersTime, min(b.stall, strangersStall)
	}
	if r.Header.Get("Expect") == "" && b.rc.Flush() == nil {
		last := time.Now().Add(total)
		for left := int64(hearOutBytes); left > 0 && time.Now().Before(last); {
			n, err := io.CopyN(io.Discard, b, min(left, 64<<10))
			left -= n
			if err != nil {
				break
			}
		}
	}
	if !b.ended {
		_ = b.rc.SetReadDeadline(time.Unix(1, 0)) // net/http would wait for the rest
	}
}

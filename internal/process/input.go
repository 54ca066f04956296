package process

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// DecodeInput decodes input as requests and terminal frames carry it: base64,
// utf8 or text. An empty encoding means fallback.
func DecodeInput(data, encoding, fallback string) ([]byte, error) {
	if encoding == "" {
		encoding = fallback
	}
	switch encoding {
	case "utf8", "text":
		return []byte(data), nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, api.InvalidRequest(api.CodeInvalidInput, "invalid base64 input: %w", err)
		}
		return b, nil
	}
	return nil, api.InvalidRequest(api.CodeInvalidInput, "encoding must be one of: base64, utf8, text")
}

// Input writes to the standard input of a process and returns how much of data
// the process took. It waits for the process to read, but only for the input
// timeout; then the error is a timeout whose details have bytesWritten.
func (s *Supervisor) Input(ctx context.Context, id string, data []byte) (int, error) {
	if limit := s.settings.Load().MaxInputBytesPerReq; int64(len(data)) > limit {
		e := api.NewError(api.KindPayloadTooLarge, api.CodeLimitExceeded, "input payload exceeds maxInputBytesPerRequest (%d)", limit)
		return 0, e.With("limit", "maxInputBytesPerRequest").With("value", limit)
	}
	p, err := s.find(id)
	if err != nil {
		return 0, err
	}
	return s.write(ctx, p, data)
}

// write gives data to a process, one caller after the other.
func (s *Supervisor) write(ctx context.Context, p *process, data []byte) (int, error) {
	deadline := time.Now().Add(s.limits.InputTimeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case p.input <- struct{}{}:
		defer func() { <-p.input }()
	case <-p.child.Done():
	case <-ctx.Done():
		return 0, s.inputError(p, ctx, ctx.Err(), 0)
	}
	if err := p.takesInput(); err != nil {
		return 0, err
	}
	_ = p.child.Stdin.SetWriteDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = p.child.Stdin.SetWriteDeadline(time.Now()) })
	defer stop()
	n, err := p.child.Stdin.Write(data)
	if err != nil {
		return n, s.inputError(p, ctx, err, n)
	}
	return n, nil
}

// takesInput returns why a process cannot get input.
func (p *process) takesInput() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.info.Status != api.ProcessRunning || p.child.Exited():
		return api.Conflict(api.CodeProcessNotRunning, "process is not running")
	case p.stdinClosed:
		return api.Conflict(api.CodeStdinClosed, "process does not accept stdin")
	}
	return nil
}

func (s *Supervisor) inputError(p *process, ctx context.Context, err error, written int) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e := api.NewError(api.KindTimeout, api.CodeInputTimeout, "process did not read its input within %v", s.limits.InputTimeout)
		return e.With("message", e.Detail).With("bytesWritten", written)
	}
	if errors.Is(err, os.ErrClosed) {
		if reason := p.takesInput(); reason != nil {
			return reason
		}
	}
	e := api.StreamError(api.CodeInputFailed, "failed to write stdin: %w", err)
	return e.With("bytesWritten", written)
}

// endOfTransmission is the character that ends the input of a terminal (^D).
const endOfTransmission = 4

// CloseStdin ends the input of a process. A terminal gets ^D and stays open.
func (s *Supervisor) CloseStdin(ctx context.Context, id string) error {
	p, err := s.find(id)
	if err != nil {
		return err
	}
	if p.child.TTY() {
		_, err := s.write(ctx, p, []byte{endOfTransmission})
		return err
	}
	p.mu.Lock()
	running := p.info.Status == api.ProcessRunning
	p.stdinClosed = true
	p.mu.Unlock()
	if !running {
		return api.Conflict(api.CodeProcessNotRunning, "process is not running")
	}
	_ = p.child.Stdin.Close() // a second time is not an error
	return nil
}

// Resize changes the size of the terminal of a process.
func (s *Supervisor) Resize(id string, size api.TerminalSize) error {
	p, err := s.find(id)
	if err != nil {
		return err
	}
	if !p.child.TTY() {
		return errNoTerminal()
	}
	if p.child.Exited() || p.child.Resize(child.Size{Cols: size.Cols, Rows: size.Rows}) != nil {
		return api.Conflict(api.CodeTerminalClosed, "PTY resize handle unavailable")
	}
	return nil
}

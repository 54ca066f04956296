package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/sandboxagent/sandboxagent/api"
)

// maxReply bounds the answer of a server, in bytes.
const maxReply = 64 << 20

// Call does one exchange in JSON with a server of a sandbox. A nil in sends no
// body, a nil out drops the answer. A refusal is an [*api.Error].
func Call(ctx context.Context, dial func(context.Context) (net.Conn, error), token, method, path string, in, out any) error {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sandbox"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call server of sandbox: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("call server of sandbox: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		problem := new(api.Error)
		if json.Unmarshal(data, problem) != nil || problem.Title == "" {
			return fmt.Errorf("call server of sandbox: status %s", resp.Status)
		}
		return problem
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Exec runs a command in a sandbox to its end.
func (s *Store) Exec(ctx context.Context, id string, cmd api.ProcessRunRequest) (*api.ProcessRunResult, error) {
	i, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	result := new(api.ProcessRunResult)
	err = Call(ctx, i.Dial, string(i.Token), http.MethodPost, "/v1/processes/run", cmd, result)
	if err != nil {
		return nil, fmt.Errorf("run command in sandbox %s: %w", id, err)
	}
	return result, nil
}

package compat_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// A cancel that overtakes the end of its prompt, on another connection of HTTP, cancels
// it all the same.
func TestCancelWaitsForAPromptThatArrives(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/x"}
	first := c
	first.path += "?agent=mock"
	first.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}`, 200)
	opened := c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, c.Home), 200)
	id := decode[struct{ Result struct{ SessionID string } }](t, opened).Result.SessionID

	// send posts a body. It returns once the server reads the body, which a server that
	// is told to expect it says.
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: testkit.Patience}}
	t.Cleanup(client.CloseIdleConnections)
	send := func(body io.Reader) (response chan string) {
		reads, response := make(chan struct{}), make(chan string, 1)
		trace := &httptrace.ClientTrace{Got100Continue: func() { close(reads) }}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", c.URL+c.path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Expect", "100-continue")
		go func() {
			resp, err := client.Do(req)
			if err != nil {
				response <- err.Error()
				return
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			response <- fmt.Sprint(resp.StatusCode, " ", string(data), err)
		}()
		<-reads
		return response
	}
	for n := range 5 {
		body, rest := io.Pipe()
		prompt := send(body)
		if _, err := io.WriteString(rest, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"session/prompt",`, n+2)); err != nil {
			t.Fatal(err)
		}
		cancel := send(strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":%q}}`, id)))
		if _, err := io.WriteString(rest, fmt.Sprintf(`"params":{"sessionId":%q,"prompt":[{"type":"text","text":"/silence"}]}}`, id)); err != nil {
			t.Fatal(err)
		}
		if err := rest.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-cancel; !strings.HasPrefix(got, "202 ") {
			t.Errorf("the cancel gets %s", got)
		}
		if got := <-prompt; !strings.Contains(got, `"stopReason":"cancelled"`) {
			t.Errorf("the prompt gets %s", got)
		}
	}
}

// A cancel of the npm client waits for a prompt of which nothing has been seen, but not
// for ever, and it does not cancel the next prompt.
func TestCancelWithoutAPromptIsPassedOn(t *testing.T) {
	c := connection{serve.Start(t, app.Config{}), t, "/v1/acp/sdk"}
	first := c
	first.path += "?agent=mock"
	first.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1,"clientInfo":{"name":"sandbox-agent-sdk","version":"v1"}}}`, 200)
	opened := c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":%q,"mcpServers":[]}}`, c.Home), 200)
	id := decode[struct{ Result struct{ SessionID string } }](t, opened).Result.SessionID
	c.post(fmt.Sprintf(`{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":%q}}`, id), 202)
	c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/echo hi"}]}}`, id), 200, `"stopReason":"end_turn"`)
}

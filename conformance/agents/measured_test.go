//go:build conformance

package agents

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

// measuredFile is what docs/agents.md is generated from; see internal/gen.
const measuredFile = "measured.json"

var measure = flag.Bool("agents.measure", false, "write what agents offer to "+measuredFile+" in place of comparing it; run make gen afterwards")

// What the matrix says of an agent is what the agent says of itself.
func TestMatrixIsWhatAgentsOffer(t *testing.T) {
	var known agents.Measured
	data, err := os.ReadFile(measuredFile)
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && !*measure {
		t.Fatal(err)
	}
	if known.Agents == nil {
		known.Agents = make(map[string]agents.MeasuredAgent)
	}
	changed := false
	for _, id := range fakemodel.Agents() {
		t.Run(id, func(t *testing.T) {
			seen := offers(t, id)
			diff := cmp.Diff(known.Agents[id], seen)
			if diff != "" && !*measure {
				t.Error(diff)
			}
			changed = changed || diff != ""
			known.Agents[id] = seen
		})
	}
	if !*measure || !changed || t.Failed() {
		return
	}
	known.Date = time.Now().UTC().Format(time.DateOnly)
	if data, err = json.MarshalIndent(known, "", "  "); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(measuredFile, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// offers starts an agent, opens a session, and returns what it said.
func offers(t *testing.T, id string) agents.MeasuredAgent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	vendor := httptest.NewServer(fakemodel.New(fakemodel.Options{}))
	defer vendor.Close()
	sandbox := startServer(ctx, t, real{id: id}, vendor.URL)
	call := func(method, params string, result any) {
		t.Helper()
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, sandbox.BaseURL()+"/v1/acp/matrix?agent="+id, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var frame struct{ Result json.RawMessage }
		if json.Unmarshal(data, &frame) != nil || json.Unmarshal(frame.Result, result) != nil {
			t.Fatalf("%s: %s", method, data)
		}
	}
	var hello struct {
		ProtocolVersion   int
		AgentInfo         struct{ Name, Version string }
		AgentCapabilities struct {
			LoadSession         bool
			PromptCapabilities  map[string]any
			MCPCapabilities     map[string]any `json:"mcpCapabilities"`
			SessionCapabilities map[string]any
			Auth                map[string]any
		}
	}
	call("initialize", `{"protocolVersion":1,"clientCapabilities":{},"clientInfo":{"name":"matrix","version":"1"}}`, &hello)
	var opened struct {
		Modes         struct{ AvailableModes []struct{ ID string } }
		ConfigOptions []struct {
			Category string
			Options  []struct{ Value string }
		}
	}
	call("session/new", fmt.Sprintf(`{"cwd":%q,"mcpServers":[]}`, directory(t, 0, "work-")), &opened)

	can := hello.AgentCapabilities
	seen := agents.MeasuredAgent{
		Program: strings.TrimSpace(hello.AgentInfo.Name + " " + hello.AgentInfo.Version), Protocol: hello.ProtocolVersion,
		Methods: []string{}, Content: present(can.PromptCapabilities), MCP: present(can.MCPCapabilities), Modes: []string{}, Options: []string{},
	}
	if can.LoadSession {
		seen.Methods = append(seen.Methods, "session/load")
	}
	for _, name := range present(can.SessionCapabilities) {
		seen.Methods = append(seen.Methods, "session/"+name)
	}
	for _, name := range present(can.Auth) {
		seen.Methods = append(seen.Methods, name)
	}
	for _, mode := range opened.Modes.AvailableModes {
		seen.Modes = append(seen.Modes, mode.ID)
	}
	for _, option := range opened.ConfigOptions {
		if category := option.Category; category != "" && !slices.Contains(seen.Options, category) {
			seen.Options = append(seen.Options, category)
		}
		for _, mode := range option.Options {
			if option.Category == "mode" && !slices.Contains(seen.Modes, mode.Value) {
				seen.Modes = append(seen.Modes, mode.Value)
			}
		}
	}
	return seen
}

// present returns the names of capabilities that are there, sorted.
func present(capabilities map[string]any) []string {
	names := []string{}
	for name, value := range capabilities {
		if value != nil && value != false {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

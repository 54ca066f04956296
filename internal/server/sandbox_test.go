package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// agentPID returns the process id of the only agent.
func (in *instance) agentPID(t *testing.T) int {
	t.Helper()
	var list api.ACPServerList
	if err := json.Unmarshal([]byte(in.check(t, scenario{path: "/v1/acp", status: 200})), &list); err != nil || len(list.Servers) != 1 {
		t.Fatalf("list %+v: %v", list, err)
	}
	return list.Servers[0].PID
}

// state is the letter of a process in the process table, or nothing.
func state(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return rest[:1]
}

// await waits for a condition.
var await = testkit.Await

func TestSandboxPauseAndRestart(t *testing.T) {
	in := start(t, app.Config{})
	in.mockSession(t, "s")
	pid := in.agentPID(t)
	in.check(t, scenario{path: "/v1/sandbox", status: 200, want: []string{`{"status":"running","agents":1,"processes":0}`}})
	in.check(t, scenario{method: "POST", path: "/v1/sandbox/pause", status: 200, want: []string{`"status":"paused"`}})
	await(t, "the agent to be stopped", func() bool { return state(pid) == "T" })
	in.check(t, scenario{method: "POST", path: "/v1/sandbox/resume", status: 200, want: []string{`"status":"running"`}})
	await(t, "the agent to go on", func() bool { return state(pid) != "T" })
	in.rpc(t, "/v1/acp/s", `{"jsonrpc":"2.0","id":5,"method":"what/ever"}`)

	in.check(t, scenario{method: "POST", path: "/v1/sandbox/pause", status: 200})
	in.check(t, scenario{method: "POST", path: "/v1/sandbox/restart", status: 200, want: []string{`{"status":"running","agents":0,"processes":0}`}})
	await(t, "the agent to be gone", func() bool { return state(pid) == "" })
	in.rpc(t, "/v1/acp/s?agent=mock", `{"jsonrpc":"2.0","id":6,"method":"initialize","params":{"protocolVersion":1}}`)
}

func TestSandboxEnds(t *testing.T) {
	for name, sc := range map[string]scenario{
		"destroy": {method: "DELETE", path: "/v1/sandbox", status: 200, want: []string{`"status":"stopping"`}},
		"kill":    {method: "POST", path: "/v1/sandbox/kill", status: 200, want: []string{`"status":"stopping"`}},
	} {
		t.Run(name, func(t *testing.T) {
			asked, stop := context.WithCancel(context.Background())
			in := start(t, app.Config{Stop: stop})
			in.mockSession(t, "s")
			pid := in.agentPID(t)
			in.check(t, sc)
			<-asked.Done()
			in.stop()
			await(t, "the agent to be gone", func() bool { return state(pid) == "" })
		})
	}
	in := start(t, app.Config{})
	in.check(t, scenario{method: "DELETE", path: "/v1/sandbox", status: 501, want: []string{`"code":"not_supported"`}})
}

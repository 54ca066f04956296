package server_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

const (
	idleAgents = 1000

	// maxIdleBytes is what an idle agent may take of the server's heap and stacks.
	maxIdleBytes = 100 << 10
)

// TestThousandIdleAgents runs a thousand agents at once, each with a session that was
// prompted, and measures what the server holds for each.
func TestThousandIdleAgents(t *testing.T) {
	mock := filepath.Join(t.TempDir(), "mock")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", mock, "./testdata/mock").CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	in := start(t, app.Config{
		Limits:        api.Limits{MaxConnections: idleAgents},
		AgentCommands: map[string][]string{"mock": {mock}},
		Env:           []string{"GOMAXPROCS=1", "HOME=" + t.TempDir()},
	})
	in.idleAgent(t, 0) // what is made once
	before := memoryInUse()
	var all errgroup.Group
	all.SetLimit(8)
	for i := 1; i < idleAgents; i++ {
		all.Go(func() error { in.idleAgent(t, i); return nil })
	}
	all.Wait()
	if list := in.check(t, scenario{path: "/v1/acp", status: 200}); strings.Count(list, `"status":"running"`) != idleAgents {
		t.Errorf("%d agents run", strings.Count(list, `"status":"running"`))
	}
	each := (memoryInUse() - before) / (idleAgents - 1)
	t.Logf("%d bytes of the server for each agent", each)
	if each > maxIdleBytes {
		t.Errorf("an idle agent takes %d bytes, more than %d", each, maxIdleBytes)
	}
}

// idleAgent starts an agent that has answered a prompt.
func (in *instance) idleAgent(t *testing.T, i int) {
	id := fmt.Sprint("idle", i)
	session := in.mockSession(t, id)
	in.rpc(t, "/v1/acp/"+id, fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":%q,"prompt":[{"type":"text","text":"/echo hello"}]}}`, session))
}

// memoryInUse returns the bytes of heap and stacks, without garbage.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

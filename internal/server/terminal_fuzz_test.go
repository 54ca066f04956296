package server

import (
	"context"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/process"
)

// FuzzTerminalFrame sends any text to the terminal of a process that is not
// there: whatever it says, the answer is an error or the wish to leave.
func FuzzTerminalFrame(f *testing.F) {
	for _, seed := range []string{
		`{"type":"input","data":"ls\n"}`, `{"type":"input","data":"bHM=","encoding":"base64"}`,
		`{"type":"input","data":"x","encoding":null}`, `{"type":"resize","cols":80,"rows":24}`,
		`{"type":"resize","cols":-1,"rows":70000}`, `{"type":"close"}`, `{"type":"foo"}`, `{`, `[]`, `null`, `7`, ``,
	} {
		f.Add([]byte(seed))
	}
	processes := process.NewSupervisor(process.Config{})
	f.Cleanup(func() { processes.Close(context.Background()) })
	t := &terminal{server: &Server{processes: processes}, id: "nobody"}
	f.Fuzz(func(tt *testing.T, data []byte) {
		if err := t.take(tt.Context(), data); err == nil {
			tt.Errorf("%q was taken", data)
		}
	})
}

package sandboxagent_test

import (
	"context"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestSandbox(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	if err := s.Command(ctx, "sleep", "1000").Start(); err != nil {
		t.Fatal(err)
	}
	expect := func(want api.Sandbox) {
		t.Helper()
		if got, err := s.Sandbox(ctx); err != nil || *got != want {
			t.Errorf("sandbox is %+v, %v; want %+v", got, err, want)
		}
	}
	expect(api.Sandbox{Status: api.SandboxRunning, Processes: 1})
	for _, step := range []struct {
		do   func(context.Context) error
		want api.Sandbox
	}{
		{s.PauseSandbox, api.Sandbox{Status: api.SandboxPaused, Processes: 1}},
		{s.ResumeSandbox, api.Sandbox{Status: api.SandboxRunning, Processes: 1}},
		{s.RestartSandbox, api.Sandbox{Status: api.SandboxRunning}},
	} {
		if err := step.do(ctx); err != nil {
			t.Fatal(err)
		}
		expect(step.want)
	}
}

func TestSandboxEnds(t *testing.T) {
	for name, end := range map[string]func(*testServer) func(context.Context) error{
		"destroy": func(s *testServer) func(context.Context) error { return s.DestroySandbox },
		"kill":    func(s *testServer) func(context.Context) error { return s.KillSandbox },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			ctx := testContext(t)
			if err := end(s)(ctx); err != nil {
				t.Fatal(err)
			}
			for err := error(nil); err == nil; { // the answer comes before the end
				_, err = s.Health(ctx)
			}
		})
	}
}

package process

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of an earlier server from coming back. Their
// numbers are those of the list of these faults.

func runScript(text string) api.ProcessRunRequest {
	return api.ProcessRunRequest{Command: "/bin/sh", Args: []string{"-c", text}}
}

func TestSignalsReachGrandchildren(t *testing.T) {
	s := newSupervisor(t, Limits{})
	id := create(t, s, script(`sleep 1077 & echo $!; sleep 1078`))
	text, _ := follow(t, s, id, "\n")
	info, err := s.Stop(t.Context(), id, "", time.Minute)
	if err != nil || info.ExitSignal != "SIGTERM" {
		t.Errorf("stop: %+v, %v", info, err)
	}
	eventually(t, "grandchild is gone", func() bool { return !alive(pidOf(t, text)) })

	req := runScript(`sleep 1077 & echo $!; sleep 1078`)
	req.TimeoutMs = ptr(int64(200))
	result, err := s.Run(t.Context(), req)
	if err != nil || !result.TimedOut {
		t.Fatalf("run: %+v, %v", result, err)
	}
	eventually(t, "grandchild of run is gone", func() bool { return !alive(pidOf(t, result.Stdout)) })
}

func TestRunDoesNotWaitForPipes(t *testing.T) {
	s := newSupervisor(t, Limits{})
	t.Run("timeout", func(t *testing.T) {
		req := runScript(`echo begin; sleep 1000 & sleep 1000`)
		req.Timeout = ptr(0.2)
		result, err := s.Run(t.Context(), req)
		if err != nil || !result.TimedOut || result.ExitCode != nil || result.Stdout != "begin\n" {
			t.Errorf("run: %+v, %v", result, err)
		}
	})
	t.Run("background", func(t *testing.T) {
		result, err := s.Run(t.Context(), runScript(`sleep 1000 & echo done`))
		if err != nil || result.TimedOut || result.ExitCode == nil || *result.ExitCode != 0 || result.Stdout != "done\n" {
			t.Errorf("run: %+v, %v", result, err)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		file := t.TempDir() + "/pid"
		failed := make(chan error, 1)
		go func() {
			_, err := s.Run(ctx, runScript(`sleep 1000 & echo $! >`+file+`; wait`))
			failed <- err
		}()
		var pid int
		eventually(t, "grandchild runs", func() bool {
			result, err := s.Run(t.Context(), api.ProcessRunRequest{Command: "cat", Args: []string{file}})
			if err != nil || !strings.HasSuffix(result.Stdout, "\n") {
				return false
			}
			pid = pidOf(t, result.Stdout)
			return true
		})
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		eventually(t, "grandchild is gone", func() bool { return !alive(pid) })
	})
}

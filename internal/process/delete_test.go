package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func TestDeleteKeepsWhatAProcessLeftRunning(t *testing.T) {
	s := newSupervisor(t, Limits{})
	file := filepath.Join(t.TempDir(), "pid")
	info, err := s.Create(api.ProcessCreateRequest{Command: "sh", Args: []string{"-c", "sleep 99999 >/dev/null 2>&1 & echo $! >" + file}}, api.OwnerUser)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "the end of the process", func() bool {
		now, err := s.Get(info.ID)
		return err == nil && now.Status == api.ProcessExited
	})
	if err := s.Delete(info.ID); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	left, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(left, 0); err != nil {
		t.Errorf("what the process left running: %v", err)
	}
	if err := s.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Await(t, "what it left to be ended with all others", func() bool { return syscall.Kill(left, 0) != nil })
}

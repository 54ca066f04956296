package providertest

import (
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// soakCount is how many sandboxes the soak makes, 20 at once.
var soakCount = flag.Int("soak", 100, "how many sandboxes to make and kill at random")

const soakAtOnce = 20

// SoakCount returns how many sandboxes [Soak] makes.
func SoakCount() int { return *soakCount }

// Soak makes many sandboxes by processes that are killed, kills some of their shims,
// and looks for what is left when all of them are destroyed. Without a process, a mount,
// and a descriptor of this process, no namespace is left either.
func Soak(t *testing.T, c Config) {
	s := &suite{c: c, state: TempDir(t)}
	s.p = c.New(s.state, self())
	t.Cleanup(func() { s.destroyAll(t) })
	slots := make(chan struct{}, soakAtOnce)
	var all sync.WaitGroup
	for n := range *soakCount {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			s.soakOne(t, n)
		})
	}
	all.Wait()
	if _, err := s.p.Prune(Context(t)); err != nil {
		t.Error(err)
	}
	s.nothingUnlisted(t)
	for i, err := range s.p.List(Context(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.p.Destroy(Context(t), i.ID); err != nil {
			t.Error(err)
		}
		s.nothingLeft(t, i.ID)
	}
	if left := processes(s.state); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if entries, err := os.ReadDir(filepath.Join(s.state, "sandboxes")); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v are left", entries, err)
	}
}

func (s *suite) soakOne(t *testing.T, n int) {
	creator, id := s.another(t, "create")
	creator.Process.Kill()
	creator.Wait()
	i, err := s.p.Get(Context(t), id)
	if err != nil || i.State != provider.Running {
		t.Errorf("sandbox %d after the end of its creator: %+v, %v", n, i, err)
		return
	}
	switch rand.IntN(4) {
	case 0:
		if err := syscall.Kill(s.status(t, id).ShimPID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		Wait(t, "the sandbox has failed", func() bool { return s.get(t, id).State == provider.Failed })
	case 1:
		if err := s.p.Pause(Context(t), id); err != nil {
			t.Error(err)
		}
	case 2:
		if err := s.p.Destroy(Context(t), id); err != nil {
			t.Error(err)
		}
		if _, err := s.p.Get(Context(t), id); !errors.Is(err, api.CodeSandboxNotFound) {
			t.Errorf("destroyed sandbox: %v", err)
		}
	default:
		result, err := s.p.Exec(Context(t), id, api.ProcessRunRequest{Command: "sh", Args: []string{"-c", "setsid sleep 99999 & echo $$"}})
		if err != nil || result.ExitCode == nil || *result.ExitCode != 0 {
			t.Errorf("exec: %+v, %v", result, err)
		}
	}
}

package files

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// soon fails the test if do goes on for a minute.
func soon(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s goes on", what)
	}
}

// TestReadOfTheKernelLogEndsWithItsContext reads a file that never ends, where
// this user may read it.
func TestReadOfTheKernelLogEndsWithItsContext(t *testing.T) {
	f, _ := newFS(t)
	ctx, cancel := context.WithCancel(t.Context())
	file, err := f.Open(ctx, "/proc/kmsg")
	if err != nil {
		cancel()
		wantProblem(t, err, 502, api.CodePermissionDenied, "")
		return // an ordinary user may not read it
	}
	defer file.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	soon(t, "the read", func() { io.Copy(io.Discard, file.File) })
}

func TestSearchOfGeneratedFilesEnds(t *testing.T) {
	f, _ := newFS(t)
	for _, dir := range []string{"/proc/self", "/proc/sys", "/proc"} {
		soon(t, "the search of "+dir, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := f.Search(ctx, api.FileSearchRequest{Path: dir, Content: "no such text in any file"}, func(api.FileSearchMatch) error { return nil })
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

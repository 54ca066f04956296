package files

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// What the kernel's queue cannot hold is told, and folders that were made
// meanwhile are watched all the same.
func TestWatchOverflow(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	queue, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	f, dir := newFS(t)
	put(t, dir+"/a", "")
	put(t, dir+"/b", "")
	ctx, cancel := context.WithCancel(t.Context())
	events, err := f.Watch(ctx, dir, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range queue + 10_000 { // what fsnotify has read besides is less
		if err := os.Chmod(dir+"/"+string("ab"[i%2]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/unseen", 0o755); err != nil {
		t.Fatal(err)
	}
	if before := nextEvent(t, events, api.WatchOverflow, dir); len(before) < queue {
		t.Errorf("only %d events before the overflow", len(before))
	}
	put(t, dir+"/c", "")
	nextEvent(t, events, api.WatchCreate, dir+"/c") // by now the folder is watched
	put(t, dir+"/unseen/d", "")
	nextEvent(t, events, api.WatchCreate, dir+"/unseen/d")
	cancel()
	for range events {
	}
}

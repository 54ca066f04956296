package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestRunIsAskedToEndBeforeItIsKilled(t *testing.T) {
	tests := []struct {
		name   string
		script string // writes "ready" to the file $1, and "tidy" when it is asked to end
		grace  *int64
		tidy   bool
	}{
		{"one that tidies up", `trap 'sleep 0.1; echo tidy >>"$1"; exit' TERM; echo ready >>"$1"; while :; do sleep 0.01; done`, nil, true},
		{"a child of a shell", `sh -c 'trap "sleep 0.3; echo tidy >>$1; exit" TERM; echo ready >>$1; while :; do sleep 0.01; done' sh "$1"; true`, nil, true},
		{"in a session of its own", `setsid sh -c 'trap "sleep 0.1; echo tidy >>$1; exit" TERM; echo ready >>$1; while :; do sleep 0.01; done' sh "$1"; true`, nil, true},
		{"one that is deaf", `trap '' TERM; echo ready >>"$1"; while :; do sleep 0.01; done`, ptr(int64(100)), false},
		{"without grace", `trap 'echo tidy >>"$1"; exit' TERM; echo ready >>"$1"; while :; do sleep 0.01; done`, ptr(int64(0)), false},
	}
	s := newSupervisor(t, Limits{RunGrace: time.Minute})
	for _, tt := range tests {
		for _, why := range []string{"the time is over", "the client leaves"} {
			t.Run(tt.name+"/"+why, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "file")
				text := func() string { b, _ := os.ReadFile(file); return string(b) }
				req := api.ProcessRunRequest{Command: "sh", Args: []string{"-c", tt.script, "sh", file}, GraceMs: tt.grace}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if why == "the time is over" {
					req.TimeoutMs = ptr(int64(500))
				} else {
					go func() {
						for ctx.Err() == nil && text() == "" {
							time.Sleep(time.Millisecond)
						}
						leave()
					}()
				}
				result, err := s.Run(ctx, req)
				if why == "the client leaves" {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("run: %+v, %v", result, err)
					}
				} else if err != nil || !result.TimedOut || result.ExitCode != nil {
					t.Errorf("run: %+v, %v", result, err)
				}
				want := "ready\n"
				if tt.tidy {
					want = "ready\ntidy\n"
				}
				if got := text(); got != want && got != "" { // a slow machine may not get as far
					t.Errorf("it wrote %q, not %q", got, want)
				}
			})
		}
	}
}

func TestRunKeepsBeginningAndEnd(t *testing.T) {
	s := newSupervisor(t, Limits{})
	for _, limit := range []int64{200, 1000, 4096, 100_000} {
		for _, size := range []int64{limit - 1, limit, limit + 1, limit + 60, 2 * limit, 20*limit + 7} {
			t.Run(fmt.Sprintf("%d of %d", limit, size), func(t *testing.T) {
				script := fmt.Sprintf(`printf 'begin '; yes | tr -d '\n' | head -c %d; printf ' the end'`, size-14)
				req := runScript(script + "; { " + script + "; } >&2")
				req.MaxOutputBytes = &limit
				result, err := s.Run(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for stream, out := range map[string]struct {
					text      string
					truncated bool
				}{"stdout": {result.Stdout, result.StdoutTruncated}, "stderr": {result.Stderr, result.StderrTruncated}} {
					if !strings.HasPrefix(out.text, "begin y") || !strings.HasSuffix(out.text, "y the end") || int64(len(out.text)) != min(size, limit) || out.truncated != (size > limit) {
						t.Errorf("%s has %d bytes, truncated %v: %.40q", stream, len(out.text), out.truncated, out.text)
					}
					gap := regexp.MustCompile(`\n\[\.\.\. (\d+) bytes left out \.\.\.\]\n`).FindStringSubmatch(out.text)
					if size <= limit {
						if gap != nil {
							t.Errorf("%s has a gap", stream)
						}
						continue
					}
					if gap == nil {
						t.Errorf("%s has no gap: %q", stream, out.text)
						continue
					}
					if missing, _ := strconv.ParseInt(gap[1], 10, 64); missing != size-(limit-int64(len(gap[0]))) {
						t.Errorf("%s of %d bytes misses %d, and has %d with a line of %d", stream, size, missing, len(out.text), len(gap[0]))
					}
				}
			})
		}
	}
	for limit, want := range map[int64]string{0: "", 2: "he", 127: "hello" + strings.Repeat("x", 122)} {
		req := runScript(`printf hello; yes x | tr -d '\n' | head -c 200`)
		req.MaxOutputBytes = &limit
		if result, err := s.Run(t.Context(), req); err != nil || result.Stdout != want || !result.StdoutTruncated {
			t.Errorf("limit %d: %+v, %v", limit, result, err)
		}
	}
}

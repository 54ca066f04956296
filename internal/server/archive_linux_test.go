package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
)

// makeUnreadable takes a lease on a file, so that nobody, root included, can open
// it without waiting.
func makeUnreadable(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
}

func TestArchiveOfAnUnreadableFileIsAProblemUntilMuchWasSent(t *testing.T) {
	base, home := newFileServer(t)
	for _, c := range []struct {
		name   string
		before int // bytes of the file ahead of it
		cut    bool
	}{
		{"first", 0, false},
		{"after a little", 100 << 10, false},
		{"after much", 1 << 20, true},
	} {
		for _, packing := range []string{"", "gzip", "zstd"} {
			t.Run(c.name+" "+packing, func(t *testing.T) {
				dir, err := os.MkdirTemp(home, "tree")
				if err != nil {
					t.Fatal(err)
				}
				random := make([]byte, c.before) // that no packing makes much smaller
				for i, x := 0, uint32(1); i < len(random); i++ {
					x = x*1664525 + 1013904223
					random[i] = byte(x >> 24)
				}
				if err := os.WriteFile(filepath.Join(dir, "a"), random, 0o644); err != nil {
					t.Fatal(err)
				}
				makeUnreadable(t, filepath.Join(dir, "b"))
				res, err := http.Get(base + "/v1/fs/archive?path=" + dir + "&compression=" + packing)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				if c.cut {
					if res.StatusCode != 200 || err == nil {
						t.Errorf("status %d, %d bytes, %v; want a transfer that breaks off", res.StatusCode, len(body), err)
					}
					return
				}
				var problem api.Error
				if err != nil || res.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(body, &problem) != nil {
					t.Fatalf("status %d, %v, %.100q", res.StatusCode, err, body)
				}
				if !strings.Contains(problem.Detail, filepath.Join(dir, "b")) || res.Header.Get("Content-Disposition") != "" {
					t.Errorf("%q, headers %v; want a problem that names the file", problem.Detail, res.Header)
				}
				if bytes.Contains(body, random[:min(64, len(random))]) && c.before > 0 {
					t.Error("the problem follows the beginning of an archive")
				}
			})
		}
	}
}

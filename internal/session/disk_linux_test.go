package session_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/testkit/serve"
)

// serveOnSmallDisk is the server on a disk of its own, which is soon full.
func serveOnSmallDisk(data, home string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=8m"); err != nil {
		return fmt.Errorf("mount small disk: %w", err)
	}
	return serveAlone(data, home)
}

// smallDisk starts a server on a small disk, and returns where that can be seen.
func smallDisk(t *testing.T) (r *rig, disk string) {
	t.Helper()
	data, home := t.TempDir(), t.TempDir()
	cmd := exec.Command("/proc/self/exe", "small-disk", data, home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	p, err := serve.Run(t, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return of(t, p, data, home), fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, data)
}

// TestDiskFull fills the disk of a server. Sessions go on and say so, and what
// they did is stored once there is room.
func TestDiskFull(t *testing.T) {
	r, disk := smallDisk(t)
	s := r.create(`{"agent":"plain"}`)
	if turn := r.prompt(s.ID, "word 0"); turn.Unsaved {
		t.Error("unsaved on an empty disk")
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	words := 1
	say := func() (unsaved bool) {
		text := fmt.Sprintf("word %d", words)
		words++
		turn := r.prompt(s.ID, text)
		if turn.Text != "[0:"+text+"]" {
			t.Errorf("the agent says %q", turn.Text)
		}
		return turn.Unsaved
	}
	await(t, "a turn that is not on disk", say)
	err := r.send(t.Context(), "POST", "/v1/sessions", `{"agent":"plain","metadata":{"a":"`+strings.Repeat("x", 1<<20)+`"}}`, nil)
	if !errors.Is(err, api.CodeStorageFailed) {
		t.Errorf("create on a full disk: %v", err)
	}
	status, file := r.file("GET", "export", "")
	if n := strings.Count(file, `"text":"word `); status != http.StatusOK || n != words {
		t.Errorf("%d of %d prompts are in an export from a full disk, status %d", n, words, status)
	}
	moved := strings.ReplaceAll(file, s.ID, "moved")
	if status, problem := r.file("POST", "import", moved); status != http.StatusServiceUnavailable || !strings.Contains(problem, `"code":"storage_failed"`) {
		t.Errorf("import on a full disk: %d %s", status, problem)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	await(t, "a turn that is on disk again", func() bool { return !say() })
	if n := count(r.events(s.ID), `"text":"word `); n != words {
		t.Errorf("%d of %d prompts are in the events", n, words)
	}
	if status, problem := r.file("POST", "import", moved); status != http.StatusOK {
		t.Errorf("import with room again: %d %s", status, problem)
	}
}

// file exports or imports sessions.
func (r *rig) file(method, what, body string) (status int, answer string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+"/v1/sessions/"+what, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestDamagedJournal starts a server on a file that is none.
func TestDamagedJournal(t *testing.T) {
	r := start(t, "", api.Limits{})
	r.create(`{"agent":"plain"}`)
	r.stop()
	path := filepath.Join(r.data, "journal.db")
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(make([]byte, 4096), 0)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	cfg, err := config(r.data, r.home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Open(cfg); !errors.Is(err, api.CodeDataCorrupt) || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v", err)
	}
}

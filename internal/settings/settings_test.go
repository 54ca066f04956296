package settings

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
)

var update = flag.Bool("update", false, "write golden files")

// putVariable makes the test binary put entries, in place of running tests.
const putVariable = "SETTINGS_TEST_PUT"

func TestMain(m *testing.M) {
	if job := os.Getenv(putVariable); job != "" {
		dir, name, _ := strings.Cut(job, "|")
		s := New(Options{Directory: dir, Data: dir, Log: slog.New(slog.DiscardHandler)})
		if err := putMany(s, dir, name, 10); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func newSettings(t *testing.T, edit ...func(*Options)) (*Settings, string) {
	t.Helper()
	dir := t.TempDir()
	opts := Options{
		Directory: dir, Data: t.TempDir(),
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TOKEN=sesame", "EMPTY="},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, e := range edit {
		e(&opts)
	}
	return New(opts), dir
}

func putMany(s *Settings, dir, prefix string, n int) error {
	for i := range n {
		body := fmt.Sprintf(`{"type":"local","command":"run-%s-%d"}`, prefix, i)
		if err := s.MCP.Put(context.Background(), dir, fmt.Sprintf("%s-%d", prefix, i), []byte(body)); err != nil {
			return err
		}
	}
	return nil
}

// The earlier server lost entries and corrupted its file when two wrote at once.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	s, dir := newSettings(t)
	left := filepath.Join(dir, configDir, ".mcp.json.7.new") // by a writer that was killed
	if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o755), os.WriteFile(left, []byte("{"), 0o644)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 34)
	for i := range 30 {
		wg.Go(func() { errs <- putMany(s, dir, fmt.Sprintf("goroutine%d", i), 1) })
	}
	for i := range 4 {
		wg.Go(func() {
			child := exec.CommandContext(t.Context(), os.Args[0])
			child.Env = append(os.Environ(), fmt.Sprintf("%s=%s|process%d", putVariable, dir, i))
			if out, err := child.CombinedOutput(); err != nil {
				errs <- fmt.Errorf("child %d: %w: %s", i, err, out)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	all, err := s.MCP.All(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 30+4*10 {
		t.Errorf("%d entries are left of %d", len(all), 30+4*10)
	}
	for name, entry := range all {
		if entry.Command[0] != "run-"+name {
			t.Errorf("%s runs %s", name, entry.Command)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, configDir))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Errorf("beside the file are left: %v", files)
	}
}

// The earlier server called a missing entry a missing session and nothing else,
// and made files when there was nothing to delete. That any directory may be
// configured stays: the token that allows it allows to write any file.
func TestMissingEntriesAreErrorsAndMakeNothing(t *testing.T) {
	s, dir := newSettings(t)
	ctx := t.Context()
	for _, err := range []error{
		s.MCP.Delete(ctx, dir, "x"), s.Skills.Delete(ctx, dir, "x"), s.MCP.Clear(ctx, dir), s.Skills.Clear(ctx, ""),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	_, err := s.MCP.Get(dir, "x")
	if !errors.Is(err, api.CodeConfigNotFound) {
		t.Errorf("got %v", err)
	}
	golden := `{"type":"urn:sandbox-agent:error:session_not_found","title":"Session Not Found","status":404,` +
		`"detail":"session not found: mcp:x","code":"config_not_found","sessionId":"mcp:x"}`
	if got, _ := json.Marshal(err); string(got) != golden {
		t.Errorf("got %s", got)
	}
	if _, err := s.Skills.Get(dir, "y"); err == nil || err.Error() != "session not found: skills:y" {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("made %v", left)
	}
}

func TestStoredFile(t *testing.T) {
	s, dir := newSettings(t)
	ctx := t.Context()
	for _, put := range [][2]string{
		{"zeta", `{"type":"stdio","command":["node","a&b.js"],"environment":{"B":"<2>","A":"1"},"timeout":5}`},
		{"alpha", `{"type":"http","url":"http://h/?a=1&b=2"}`},
	} {
		if err := s.MCP.Put(ctx, "", put[0], []byte(put[1])); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, configDir, "mcp.json")
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "stored.json", got)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o640, 0o600, 0o644} { // that its user gives it
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := s.MCP.Put(ctx, "", "zeta", []byte(`{"type":"local","command":"node","env":{"K":"secret"}}`)); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v of a changed file, %v, want %v", info.Mode(), err, mode)
		}
	}

	// What somebody added by hand stays when another entry changes.
	byHand := `{"alpha":{"type":"local","command":"a","note":12345678901234567890123},"odd":{"type":"future"}}`
	if err := os.WriteFile(path, []byte(byHand), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.MCP.Put(ctx, "", "new", []byte(`{"type":"local","command":"n"}`)); err != nil {
		t.Fatal(err)
	}
	got, _ = os.ReadFile(path)
	if !strings.Contains(string(got), `"note": 12345678901234567890123`) || !strings.Contains(string(got), `"future"`) {
		t.Errorf("got %s", got)
	}
	if err := s.MCP.Delete(ctx, "", "odd"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.MCP.All(""); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestCorruptFile(t *testing.T) {
	ctx := t.Context()
	for name, content := range map[string]string{
		"text": "{oops", "empty": "", "list": "[]", "cut": `{"a":{"type":"local","comm`, "duplicate": `{"a":{"type":"local","command":"a"},"a":{"type":"local","command":"b"}}`,
		"unknown type": `{"a":{"type":"future"}}`, "latin": "{\"\xe4\":{}}", "big": strings.Repeat(" ", maxFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newSettings(t)
			path := filepath.Join(dir, configDir, "mcp.json")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			check := func(what string, err error) {
				problem, ok := errors.AsType[*api.Error](err)
				if !ok || problem.Status != 400 || problem.Code != api.CodeConfigInvalid ||
					!strings.HasPrefix(problem.Detail, "invalid request: invalid config file "+path+": ") ||
					!strings.Contains(problem.Detail, "delete it") {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := s.MCP.Get(dir, "a")
			check("get", err)
			_, err = s.MCPServers(dir)
			check("servers", err)
			if name != "unknown type" { // an entry that the others do not touch
				check("put", s.MCP.Put(ctx, dir, "b", []byte(`{"type":"local","command":"b"}`)))
				check("replace", s.MCP.Replace(ctx, dir, []byte(`{}`)))
				check("delete", s.MCP.Delete(ctx, dir, "a"))
				if got, _ := os.ReadFile(path); string(got) != content {
					t.Errorf("file became %.100q", got)
				}
			}
			if err := s.MCP.Clear(ctx, dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("file is still there: %v", err)
			}
		})
	}
}

// TestNoFile has what is no file where the file should be. Opening a pipe waits for
// somebody who writes, and nobody does.
func TestNoFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		s, dir := newSettings(t)
		path := s.MCP.Path(dir)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), make(path)); err != nil {
			t.Fatal(err)
		}
		_, err := s.MCP.All(dir)
		for _, err := range []error{err, s.MCP.Put(t.Context(), dir, "a", []byte(`{"type":"local","command":"x"}`))} {
			if !errors.Is(err, api.CodeConfigInvalid) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

func TestWriteFails(t *testing.T) {
	s, _ := newSettings(t)
	const dir = "/proc" // not even root makes a directory there
	err := s.MCP.Put(t.Context(), dir, "a", []byte(`{"type":"local","command":"x"}`))
	problem, ok := errors.AsType[*api.Error](err)
	if !ok || problem.Status != 502 || problem.Code != api.CodeStorageFailed {
		t.Errorf("got %v", err)
	}
}

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs:\n%s", name, got)
	}
}

func BenchmarkMergeMCP(b *testing.B) {
	dir := b.TempDir()
	s := New(Options{Directory: dir, Data: dir, Log: slog.New(slog.DiscardHandler)})
	if err := putMany(s, dir, "a", 5); err != nil {
		b.Fatal(err)
	}
	params := json.RawMessage(`{"cwd":"/w","mcpServers":[{"name":"mine","command":"x","args":[],"env":[]}]}`)
	for b.Loop() {
		if _, err := s.MergeMCP(params, dir); err != nil {
			b.Fatal(err)
		}
	}
}

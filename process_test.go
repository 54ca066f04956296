package sandboxagent_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func TestCommand(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	sh := func(script string) *sandboxagent.Cmd { return s.Command(ctx, "sh", "-c", script) }

	out, err := s.Command(ctx, "echo", "hello").Output()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("output is %q, %v", out, err)
	}
	out, err = sh("echo a; echo b >&2; echo c").CombinedOutput()
	if err != nil || len(out) != 6 {
		t.Errorf("output is %q, %v", out, err)
	}
	cmd := s.Command(ctx, "cat")
	cmd.Stdin = strings.NewReader(strings.Repeat("0123456789", 20_000))
	out, err = cmd.Output()
	if err != nil || len(out) != 200_000 {
		t.Errorf("output has %d bytes, %v", len(out), err)
	}
	cmd = sh("echo $A-$B; pwd")
	cmd.Env, cmd.Dir = []string{"A=1", "B=2=3"}, s.dir
	out, err = cmd.Output()
	if err != nil || string(out) != "1-2=3\n"+s.dir+"\n" {
		t.Errorf("output is %q, %v", out, err)
	}
	var stdout, stderr bytes.Buffer
	cmd = sh("echo out; echo err >&2")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stdout.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("got %q, %q, %v", &stdout, &stderr, err)
	}
	if cmd.Info == nil || cmd.Info.ExitCode == nil {
		t.Errorf("info is %+v", cmd.Info)
	}
	if list, err := s.Processes(ctx, ""); err != nil || len(list) != 0 {
		t.Errorf("left over: %+v, %v", list, err)
	}
}

func TestCommandFails(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	_, err := s.Command(ctx, "sh", "-c", "echo why >&2; exit 3").Output()
	var exit *sandboxagent.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(exit.Stderr) != "why\n" || err.Error() != "exit status 3" {
		t.Errorf("error is %v, %+v", err, exit)
	}
	if err := s.Command(ctx, "no-such-program").Run(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	cmd := s.Command(ctx, "true")
	cmd.Env = []string{"nonsense"}
	if err := cmd.Run(); err == nil {
		t.Error("bad environment is no error")
	}
	cmd = s.Command(ctx, "sh", "-c", "kill -9 $$")
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != -1 || exit.ExitSignal != "SIGKILL" {
		t.Errorf("error is %v", err)
	}
	cmd = s.Command(ctx, "sh", "-c", "sleep 1000 & sleep 1000")
	cmd.Timeout = 100 * time.Millisecond
	if err := cmd.Run(); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &exit) {
		t.Errorf("error is %v", err)
	}
	short, cancel := context.WithCancel(ctx)
	cmd = s.Command(short, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if cmd.Wait() == nil || cmd.Start() == nil {
		t.Error("used twice without an error")
	}
	boom := errors.New("boom")
	cmd = s.Command(ctx, "echo", "x")
	cmd.Stdout = failWriter{boom}
	if err := cmd.Run(); !errors.Is(err, boom) {
		t.Errorf("error is %v", err)
	}
	cmd = s.Command(ctx, "yes")
	cmd.Stdout = failWriter{boom}
	if err := cmd.Run(); !errors.Is(err, boom) || !errors.As(err, &exit) || exit.ExitSignal != "SIGPIPE" {
		t.Errorf("error is %v", err)
	}
	if list, err := s.Processes(ctx, api.OwnerUser); err != nil || len(list) != 0 {
		t.Errorf("left over: %+v, %v", list, err)
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }

// Input arrives whole at a program that is slow to read, however little the server
// takes at once and however soon it gives up.
func TestCommandReadsLate(t *testing.T) {
	s := newLimitedServer(t, api.Limits{InputTimeoutMs: 20})
	ctx := testContext(t)
	small := int64(1000)
	if _, err := s.SetProcessConfig(ctx, api.ProcessConfigPatch{MaxInputBytesPerReq: &small}); err != nil {
		t.Fatal(err)
	}
	cmd := s.Command(ctx, "sh", "-c", "sleep 0.2; sha256sum")
	input := make([]byte, 200_000)
	rand.Read(input)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if want := fmt.Sprintf("%x  -\n", sha256.Sum256(input)); err != nil || string(out) != want {
		t.Errorf("output is %q, %v", out, err)
	}
	boom := errors.New("boom")
	cmd = s.Command(ctx, "cat")
	cmd.Stdin = io.MultiReader(strings.NewReader("x"), iotest.ErrReader(boom))
	if out, err := cmd.Output(); !errors.Is(err, boom) || string(out) != "x" {
		t.Errorf("output is %q, %v", out, err)
	}
}

// Output that would fill the log many times before anybody reads it is whole.
func TestCommandWritesAtOnce(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	small := int64(10_000)
	if _, err := s.SetProcessConfig(ctx, api.ProcessConfigPatch{MaxLogBytesPerProcess: &small}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		out, err := s.Command(ctx, "head", "-c", "300000", "/dev/zero").Output()
		if err != nil || len(out) != 300_000 {
			t.Errorf("output has %d bytes, %v", len(out), err)
		}
	}
}

func TestCommandPipes(t *testing.T) {
	s := newServer(t)
	cmd := s.Command(testContext(t), "sh", "-c", "cat; echo done >&2")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(stdin, "ping\n")
	line := make([]byte, 5)
	if _, err := io.ReadFull(stdout, line); err != nil || string(line) != "ping\n" {
		t.Errorf("read %q, %v", line, err)
	}
	stdin.Close()
	rest, err := io.ReadAll(stdout)
	words, err2 := io.ReadAll(stderr)
	if err != nil || err2 != nil || len(rest) != 0 || string(words) != "done\n" {
		t.Errorf("read %q, %v; %q, %v", rest, err, words, err2)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A pipe that is not read to its end is no reason to wait for ever, nor an error.
func TestCommandPipeIsLeft(t *testing.T) {
	s := newServer(t)
	for name, leave := range map[string]func(io.ReadCloser){
		"unread": func(io.ReadCloser) {},
		"closed": func(r io.ReadCloser) { r.Close() },
	} {
		cmd := s.Command(testContext(t), "sh", "-c", "echo first; head -c 100000 /dev/zero; exit 3")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 6)
		if _, err := io.ReadFull(stdout, line); err != nil || string(line) != "first\n" {
			t.Errorf("read %q, %v", line, err)
		}
		leave(stdout)
		var exit *sandboxagent.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := stdout.Read(line); err == nil {
			t.Errorf("%s: the pipe can be read after Wait", name)
		}
	}
}

func TestProcess(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	p, err := s.StartProcess(ctx, api.ProcessCreateRequest{Command: "sh", Args: []string{"-c", "trap hup=1 HUP; echo ready; read l; echo got $l; while [ -z \"$hup\" ]; do sleep 0.02; done; echo hup; cat; echo end"}})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := p.Info(ctx); err != nil || info.Status != api.ProcessRunning {
		t.Errorf("info is %+v, %v", info, err)
	}
	if err := p.Delete(ctx); !errors.Is(err, api.CodeProcessRunning) {
		t.Errorf("delete: %v", err)
	}
	if n, err := p.Input(ctx, []byte("one\n")); n != 4 || err != nil {
		t.Errorf("input took %d, %v", n, err)
	}
	var text strings.Builder
	var last uint64
	for entry, err := range p.Logs(ctx, sandboxagent.LogsOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		text.Write(entry.Data)
		last = entry.Sequence
		switch {
		case strings.HasSuffix(text.String(), "got one\n"):
			if err := p.Signal(ctx, "HUP"); err != nil {
				t.Error(err)
			}
		case strings.HasSuffix(text.String(), "hup\n"):
			if err := p.CloseInput(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	if !strings.HasSuffix(text.String(), "end\n") {
		t.Errorf("output is %q", &text)
	}
	info, err := p.Wait(ctx)
	if err != nil || info.ExitCode == nil || *info.ExitCode != 0 {
		t.Errorf("info is %+v, %v", info, err)
	}
	for _, err := range p.Logs(ctx, sandboxagent.LogsOptions{Since: last}) {
		t.Errorf("there is more: %v", err)
	}
	n := 0
	for range p.Logs(ctx, sandboxagent.LogsOptions{Tail: 1, Stream: api.LogStdout}) {
		n++
	}
	if n != 1 {
		t.Errorf("tail has %d entries", n)
	}
	if err := p.Delete(ctx); err != nil {
		t.Error(err)
	}
	if _, err := p.Info(ctx); !errors.Is(err, api.CodeProcessNotFound) {
		t.Errorf("info after delete: %v", err)
	}
	for _, err := range p.Logs(ctx, sandboxagent.LogsOptions{Follow: true}) {
		if !errors.Is(err, api.CodeProcessNotFound) {
			t.Errorf("logs after delete: %v", err)
		}
	}
}

func TestStopProcess(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	for _, tt := range []struct {
		signal, want string
		stop         func(*sandboxagent.Process, sandboxagent.StopOptions) (*api.ProcessInfo, error)
	}{
		{"", "SIGTERM", func(p *sandboxagent.Process, o sandboxagent.StopOptions) (*api.ProcessInfo, error) {
			return p.Stop(ctx, o)
		}},
		{"SIGINT", "SIGINT", func(p *sandboxagent.Process, o sandboxagent.StopOptions) (*api.ProcessInfo, error) {
			return p.Stop(ctx, o)
		}},
		{"", "SIGKILL", func(p *sandboxagent.Process, o sandboxagent.StopOptions) (*api.ProcessInfo, error) {
			return p.Kill(ctx, o)
		}},
	} {
		p, err := s.StartProcess(ctx, api.ProcessCreateRequest{Command: "sleep", Args: []string{"1000"}})
		if err != nil {
			t.Fatal(err)
		}
		info, err := tt.stop(p, sandboxagent.StopOptions{Signal: tt.signal, Wait: time.Minute})
		if err != nil || info.ExitSignal != tt.want {
			t.Errorf("info is %+v, %v", info, err)
		}
	}
	result, err := s.RunProcess(ctx, api.ProcessRunRequest{Command: "sh", Args: []string{"-c", "echo x; exit 2"}})
	if err != nil || *result.ExitCode != 2 || result.Stdout != "x\n" {
		t.Errorf("result is %+v, %v", result, err)
	}
}

func TestTerminal(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	term, err := s.StartTerminal(ctx, api.ProcessCreateRequest{Command: "sh"}, sandboxagent.TerminalOptions{Cols: 100, Rows: 40})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(term, "stty size; echo fir''st\n"); err != nil {
		t.Fatal(err)
	}
	if text := readUntil(t, term, "first\r\n"); !strings.Contains(text, "40 100") {
		t.Errorf("terminal shows %q", text)
	}
	if err := term.Resize(ctx, 80, 25); err != nil {
		t.Error(err)
	}
	offset, err := term.Detach()
	if err != nil || offset == 0 {
		t.Errorf("offset is %d, %v", offset, err)
	}
	if _, err := term.Write([]byte("x")); err == nil {
		t.Error("write after detach is no error")
	}
	if _, err := term.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after detach: %v", err)
	}
	// What happens meanwhile is there on return.
	if _, err := term.Process.Input(ctx, []byte("echo sec''ond; stty size\n")); err != nil {
		t.Fatal(err)
	}
	back, err := term.Process.Attach(ctx, sandboxagent.TerminalOptions{Since: &offset})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if text := readUntil(t, back, "25 80\r\n"); !strings.Contains(text, "second\r\n") || strings.Contains(text, "first\r\n") {
		t.Errorf("terminal shows %q", text)
	}
	if _, err := io.WriteString(back, "exit 3\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, back); err != nil {
		t.Error(err)
	}
	info, err := back.Wait(ctx)
	if err != nil || info.ExitCode == nil || *info.ExitCode != 3 {
		t.Errorf("info is %+v, %v", info, err)
	}
	p, err := s.StartProcess(ctx, api.ProcessCreateRequest{Command: "sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Attach(ctx, sandboxagent.TerminalOptions{}); !errors.Is(err, api.CodeNotATerminal) {
		t.Errorf("attach without terminal: %v", err)
	}
}

// readUntil reads until the text ends in want.
func readUntil(t *testing.T, r io.Reader, want string) string {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, 1)
	for !strings.HasSuffix(text.String(), want) {
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("after %q: %v", text.String(), err)
		}
		text.Write(buf[:n])
	}
	return text.String()
}

func TestConfig(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	server := api.MCPServer{Type: api.MCPLocal, Command: api.MCPCommand{"prog"}, Args: []string{"-v"}}
	if err := s.SetMCPServer(ctx, s.dir, "one", server); err != nil {
		t.Fatal(err)
	}
	got, err := s.MCPServer(ctx, s.dir, "one")
	if err != nil || got.Command[0] != "prog" {
		t.Errorf("server is %+v, %v", got, err)
	}
	if err := s.SetMCPServers(ctx, s.dir, map[string]api.MCPServer{"two": server}); err != nil {
		t.Error(err)
	}
	all, err := s.MCPServers(ctx, s.dir)
	if _, two := all["two"]; err != nil || len(all) != 1 || !two {
		t.Errorf("servers are %+v, %v", all, err)
	}
	if err := s.DeleteMCPServer(ctx, s.dir, "two"); err != nil {
		t.Error(err)
	}
	if _, err := s.MCPServer(ctx, s.dir, "two"); !errors.Is(err, api.CodeConfigNotFound) {
		t.Errorf("error is %v", err)
	}
	skill := api.SkillsConfig{Sources: []api.SkillSource{{Type: "local", Source: "/x"}}}
	if err := s.SetSkill(ctx, s.dir, "one", skill); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Skill(ctx, s.dir, "one"); err != nil || len(got.Sources) != 1 {
		t.Errorf("skill is %+v, %v", got, err)
	}
	if err := s.SetSkills(ctx, s.dir, nil); err != nil {
		t.Error(err)
	}
	if all, err := s.Skills(ctx, s.dir); err != nil || len(all) != 0 {
		t.Errorf("skills are %+v, %v", all, err)
	}
	if err := s.DeleteSkill(ctx, s.dir, "one"); err != nil {
		t.Error(err)
	}
	limit := 7
	config, err := s.SetProcessConfig(ctx, api.ProcessConfigPatch{MaxConcurrentProcesses: &limit})
	if err != nil || config.MaxConcurrentProcesses != 7 || config.MaxOutputBytes == 0 {
		t.Errorf("config is %+v, %v", config, err)
	}
	if config, err = s.ProcessConfig(ctx); err != nil || config.MaxConcurrentProcesses != 7 {
		t.Errorf("config is %+v, %v", config, err)
	}
}

func TestAgents(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	list, err := s.Agents(ctx, sandboxagent.AgentsOptions{})
	if err != nil || len(list) == 0 {
		t.Fatalf("agents are %+v, %v", list, err)
	}
	agent, err := s.Agent(ctx, "mock", sandboxagent.AgentsOptions{Config: true, NoCache: true})
	if err != nil || !agent.Installed || len(agent.ConfigOptions) == 0 {
		t.Errorf("agent is %+v, %v", agent, err)
	}
	if _, err := s.Agent(ctx, "nope", sandboxagent.AgentsOptions{}); !errors.Is(err, sandboxagent.ErrUnsupportedAgent) {
		t.Errorf("error is %v", err)
	}
	if installed, err := s.InstallAgent(ctx, "mock", sandboxagent.InstallAgentOptions{}); err != nil || len(installed.Artifacts) != 1 {
		t.Errorf("installed %+v, %v", installed, err)
	}
	if err := s.UninstallAgent(ctx, "mock"); err != nil {
		t.Errorf("uninstall: %v", err)
	}
	if err := s.UninstallAgent(ctx, "mock"); !errors.Is(err, api.CodeNotInstalledHere) {
		t.Errorf("uninstall what is built in: %v", err)
	}
	if version, err := s.Version(ctx); err != nil || version.Name != "sandbox-agent" {
		t.Errorf("version is %+v, %v", version, err)
	}
	if limits, err := s.Limits(ctx); err != nil || limits.MaxFrameBytes == 0 {
		t.Errorf("limits are %+v, %v", limits, err)
	}
}

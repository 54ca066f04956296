package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/process"
)

// agentVariable makes the test binary the agent of these tests.
const agentVariable = "BRIDGE_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(agentVariable) != "" {
		agent()
		return
	}
	goleak.VerifyTestMain(m)
}

// agent answers each request with {"got":<its params>}, and does by method what
// agents should not.
func agent() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var frame struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal(line, &frame); err != nil {
			fmt.Fprintln(os.Stderr, "bad frame", err)
			os.Exit(3)
		}
		var params struct {
			N    int
			Text string
		}
		json.Unmarshal(frame.Params, &params)
		switch frame.Method {
		case "die":
			for i := range 20 {
				fmt.Fprintln(os.Stderr, "stderr line", i+1)
			}
			os.Exit(7)
		case "killself":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hang", "session/prompt":
			continue
		case "deaf":
			select {}
		case "rubbish":
			fmt.Fprintln(out, params.Text)
		case "long":
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"text":"%s"}}`+"\n", frame.ID, strings.Repeat("x", params.N))
			out.Flush()
			continue
		case "burst":
			for i := range params.N {
				fmt.Fprintf(out, `{"jsonrpc":"2.0","method":"session/update","params":{"n":%d}}`+"\n", i)
			}
		case "grandchild":
			cmd := exec.Command("sh", "-c", "sleep 600 & sleep 600")
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			fmt.Fprintf(out, `{"jsonrpc":"2.0","method":"pid","params":{"n":%d}}`+"\n", cmd.Process.Pid)
		}
		if frame.ID != nil && frame.Method != "" {
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"got":%s}}`+"\n", frame.ID, strings.TrimSpace(string(frame.Params)+strings.Repeat("null", b2i(frame.Params == nil))))
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func launch(context.Context, string) (process.Spec, error) {
	exe, err := os.Executable()
	return process.Spec{Path: exe, Env: append(os.Environ(), agentVariable+"=1")}, err
}

type fixture struct {
	*bridge.Bridge
	t       *testing.T
	journal *journal.Journal
}

func newFixture(t *testing.T, limits bridge.Limits) *fixture {
	t.Helper()
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{bridge.New(bridge.Config{Journal: j, Launch: launch, Limits: limits}), t, j}
	t.Cleanup(func() {
		if err := f.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		j.Close()
	})
	return f
}

func (f *fixture) post(id, agent, frame string) (string, error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reply, err := f.Post(ctx, id, agent, agent != "", []byte(frame))
	return string(reply), err
}

func (f *fixture) mustPost(id, agent, frame string) string {
	f.t.Helper()
	reply, err := f.post(id, agent, frame)
	if err != nil {
		f.t.Fatalf("post %s: %v", frame, err)
	}
	return reply
}

// events reads the stream of id until done says so.
func (f *fixture) events(id string, after *uint64, done func(journal.Entry) bool) []journal.Entry {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reader, err := f.Events(ctx, id, after)
	if err != nil {
		f.t.Fatal(err)
	}
	var all []journal.Entry
	for {
		batch, err := reader.Next(ctx)
		if err != nil {
			f.t.Fatalf("after %d events: %v", len(all), err)
		}
		for _, e := range batch.Entries {
			all = append(all, e)
			if done(e) {
				return all
			}
		}
	}
}

func has(text string) func(journal.Entry) bool {
	return func(e journal.Entry) bool { return strings.Contains(string(e.Frame), text) }
}

func wantCode(t *testing.T, err error, code api.Code) *api.Error {
	t.Helper()
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Code != code {
		t.Fatalf("got error %v, want code %s", err, code)
	}
	return problem
}

func TestFault08RawBytesStayRaw(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	for _, id := range []string{`0`, `"1.0"`, `12345678901234567890123`, `1e2`, `"a\u00e9\n"`, `null`} {
		frame := `{"jsonrpc":"2.0","id":` + id + `,"method":"x","params":{"z":1.0,"a":1e2,"m":12345678901234567890123}}`
		want := `{"jsonrpc":"2.0","id":` + id + `,"result":{"got":{"z":1.0,"a":1e2,"m":12345678901234567890123}}}`
		if got := f.mustPost("s", "test", frame); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got := f.mustPost("s", "", "{\n\"id\": 9,\r\n \"method\":\"x\", \"params\": {\"b\" : 1.0}\n}"); got != `{"jsonrpc":"2.0","id":9,"result":{"got":{"b":1.0}}}` {
		t.Errorf("frame of several lines: %s", got)
	}
}

func TestProtocolVersion(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	for in, want := range map[string]string{`"1"`: `1`, `"1.0"`: `1`, `1`: `1`, `"abc"`: `"abc"`, `"2024-11-05"`: `"2024-11-05"`, `null`: `null`} {
		got := f.mustPost("s", "test", `{"id":1,"method":"initialize","params":{"protocolVersion":`+in+`,"b":1}}`)
		if want := `{"jsonrpc":"2.0","id":1,"result":{"got":{"protocolVersion":` + want + `,"b":1}}}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestFault07BadFrames(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	tests := []struct {
		name, agent, frame string
		code               api.Code
	}{
		{"empty", "test", ``, api.CodeInvalidJSON},
		{"no JSON", "test", `{"a"`, api.CodeInvalidJSON},
		{"no agent", "", `{"method":"x","id":1}`, api.CodeAgentRequired},
		{"array", "test", `[]`, api.CodeInvalidFrame},
		{"number", "test", `7`, api.CodeInvalidFrame},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.post("none", tt.agent, tt.frame)
			wantCode(t, err, tt.code)
		})
	}
	if list := f.List(); len(list) != 0 {
		t.Errorf("a bad frame left a connection: %v", list)
	}
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	_, err := f.post("s", "other", `{"id":2,"method":"x"}`)
	wantCode(t, err, api.CodeAgentMismatch)
}

func TestNotificationsAndAnswers(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	for _, frame := range []string{`{"method":"note"}`, `{"id":5,"result":{}}`, `{}`, `{"foo":1}`} {
		if got := f.mustPost("s", "", frame); got != "" {
			t.Errorf("%s was answered with %s", frame, got)
		}
	}
}

func TestFault03WaitersLearnOfExitAtOnce(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	hung := make(chan error, 1)
	go func() {
		_, err := f.post("s", "", `{"id":2,"method":"session/prompt"}`)
		hung <- err
	}()
	_, err := f.post("s", "", `{"id":3,"method":"die"}`)
	for range 2 {
		problem := wantCode(t, err, api.CodeAgentProcessExited)
		if problem.Details["exitCode"] != 7 || problem.Agent != "test" {
			t.Errorf("problem %+v", problem)
		}
		if stderr, _ := problem.Details["stderr"].(string); !strings.HasPrefix(stderr, "stderr line 5\n") || !strings.HasSuffix(stderr, "stderr line 20") {
			t.Errorf("stderr %q", stderr)
		}
		err = <-hung
		hung <- err
	}
	f.events("s", nil, has(`{"jsonrpc":"2.0","method":"_adapter/agent_exited","params":{"code":7,"success":false}}`))
}

func TestFault04DeadAgentStartsAnew(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	f.post("s", "", `{"id":2,"method":"killself"}`)
	exit := f.events("s", nil, has("agent_exited"))
	if !strings.Contains(string(exit[len(exit)-1].Frame), `"code":null,"success":false,"signal":"SIGKILL"`) {
		t.Errorf("exit event %s", exit[len(exit)-1].Frame)
	}
	waitFor(t, "the list to tell", func() bool { return f.List()[0].Status == "exited" })
	_, err := f.post("s", "", `{"id":3,"method":"x"}`)
	wantCode(t, err, api.CodeAgentProcessExited)

	f.mustPost("s", "test", `{"id":4,"method":"x"}`)
	var zero uint64
	all := f.events("s", &zero, has(`"id":4`))
	for i, e := range all {
		if e.Seq != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
	}
	if fresh := f.events("s", nil, has(`"id":4`)); len(fresh) != 1 {
		t.Errorf("a new reader got %d events of an earlier process", len(fresh)-1)
	}
}

func TestFault01TimeoutIsAnswered(t *testing.T) {
	f := newFixture(t, bridge.Limits{RequestTimeout: 50 * time.Millisecond})
	_, err := f.post("s", "test", `{"id":1,"method":"hang"}`)
	problem := wantCode(t, err, api.CodeTimeout)
	if problem.Status != 504 {
		t.Errorf("status %d", problem.Status)
	}
	f.mustPost("s", "", `{"id":1,"method":"x"}`) // the id is free again

	// A prompt may take as long as it likes.
	prompt := make(chan error, 1)
	go func() {
		_, err := f.post("s", "", `{"id":2,"method":"session/prompt"}`)
		prompt <- err
	}()
	_, err = f.post("s", "", `{"id":3,"method":"hang"}`)
	wantCode(t, err, api.CodeTimeout)
	select {
	case err := <-prompt:
		t.Fatalf("prompt ended with %v", err)
	default:
	}
	f.Close(context.Background(), "s")
	wantCode(t, <-prompt, api.CodeConnectionClosed)
}

func TestFault06DuplicateID(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":0,"method":"x"}`)
	first := make(chan error, 1)
	go func() {
		_, err := f.post("s", "", `{"id":7,"method":"session/prompt"}`)
		first <- err
	}()
	waitFor(t, "the second to be refused", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, err := f.Post(ctx, "s", "", false, []byte(`{"id":7,"method":"hang"}`))
		return errors.Is(err, api.CodeDuplicateID)
	})
	f.mustPost("s", "", `{"id":"7","method":"x"}`) // another id
	f.Close(context.Background(), "s")
	<-first
}

func TestRubbish(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"rubbish","params":{"text":"what? \u0001"}}`)
	all := f.events("s", nil, has(`"id":1`))
	var event struct {
		Method string
		Params struct{ Error, Raw string }
	}
	if err := json.Unmarshal(all[0].Frame, &event); err != nil {
		t.Fatal(err)
	}
	if event.Method != "_adapter/invalid_stdout" || event.Params.Raw != "what? \u0001" || event.Params.Error == "" {
		t.Errorf("got %s", all[0].Frame)
	}
}

func TestFault10LongLine(t *testing.T) {
	f := newFixture(t, bridge.Limits{MaxFrameBytes: 1 << 20})
	reply := f.mustPost("s", "test", `{"id":"long","method":"long","params":{"n":52428800}}`)
	if !strings.Contains(reply, `"id":"long","error"`) || !strings.Contains(reply, "exceeds maxFrameBytes (1048576)") {
		t.Errorf("got %s", reply)
	}
	f.mustPost("s", "", `{"id":2,"method":"long","params":{"n":1000000}}`) // below the limit it passes
	f.events("s", nil, has(`_adapter/invalid_stdout`))
}

func TestFault11DeafAgent(t *testing.T) {
	f := newFixture(t, bridge.Limits{WriteStall: 100 * time.Millisecond, MaxQueuedBytes: 1 << 20})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	f.mustPost("other", "test", `{"id":1,"method":"x"}`)
	f.mustPost("s", "", `{"method":"deaf"}`)
	big := fmt.Sprintf(`{"id":2,"method":"session/prompt","params":{"text":"%s"}}`, strings.Repeat("x", 600<<10))
	_, err := f.post("s", "", big)
	wantCode(t, err, api.CodeAgentNotReading)
	_, err = f.post("s", "", `{"method":"note"}`)
	wantCode(t, err, api.CodeAgentNotReading)
	f.mustPost("other", "", `{"id":2,"method":"x"}`) // the neighbour is not held up
	if err := f.Close(context.Background(), "s"); err != nil {
		t.Error(err)
	}
}

func TestFault02CloseEndsTheWholeGroup(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"grandchild"}`)
	all := f.events("s", nil, has(`"pid"`))
	var event struct{ Params struct{ N int } }
	json.Unmarshal(all[len(all)-1].Frame, &event)
	reader, err := f.Events(context.Background(), "s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(context.Background(), "s"); err != nil {
		t.Fatal(err)
	}
	for _, group := range []int{event.Params.N} {
		waitFor(t, "the grandchildren to be gone", func() bool { return !alive(group) })
	}
	for err = nil; err == nil; {
		_, err = reader.Next(context.Background())
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	_, err = f.Events(context.Background(), "s", nil)
	wantCode(t, err, api.CodeSessionNotFound)
	f.Close(context.Background(), "s") // again, and of what never was
	f.Close(context.Background(), "nobody")

	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	if first := f.events("s", nil, has(`"id":1`)); first[0].Seq != 1 || len(first) != 1 {
		t.Errorf("a new connection of the same id starts with event %d", first[0].Seq)
	}
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestRestartOfTheServer(t *testing.T) {
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	first := bridge.New(bridge.Config{Journal: j, Launch: launch})
	if _, err := first.Post(context.Background(), "s", "test", true, []byte(`{"id":1,"method":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if err := first.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Post(context.Background(), "s", "test", true, []byte(`{"id":2,"method":"x"}`)); !errors.Is(err, api.CodeShuttingDown) {
		t.Errorf("a bridge that was shut down answered %v", err)
	}

	f := &fixture{bridge.New(bridge.Config{Journal: j, Launch: launch}), t, j}
	defer f.Shutdown(context.Background())
	one := uint64(1)
	f.events("s", &one, has("agent_exited"))
	_, err = f.post("s", "", `{"id":2,"method":"x"}`)
	wantCode(t, err, api.CodeAgentProcessExited)
	_, err = f.post("s", "other", `{"id":2,"method":"x"}`)
	wantCode(t, err, api.CodeAgentMismatch)
	f.mustPost("s", "test", `{"id":2,"method":"x"}`)
	all := f.events("s", &one, has(`"id":2`))
	for i, e := range all {
		if e.Seq != uint64(i+2) {
			t.Fatalf("numbers do not go on: %d at place %d", e.Seq, i)
		}
	}
}

func TestBurstToManyReaders(t *testing.T) {
	const updates, readers = 20_000, 20
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			next := 0
			f.events("s", nil, func(e journal.Entry) bool {
				if strings.Contains(string(e.Frame), "session/update") {
					if want := fmt.Sprintf(`{"n":%d}`, next); !strings.Contains(string(e.Frame), want) {
						t.Errorf("got %s, want %s", e.Frame, want)
						return true
					}
					next++
				}
				return strings.Contains(string(e.Frame), `"id":2`)
			})
			if next != updates {
				t.Errorf("%d updates, want %d", next, updates)
			}
		})
	}
	f.mustPost("s", "", fmt.Sprintf(`{"id":2,"method":"burst","params":{"n":%d}}`, updates))
	wg.Wait()
}

func TestStartFails(t *testing.T) {
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	b := bridge.New(bridge.Config{
		Journal: j,
		Known:   func(agent string) bool { return agent != "unknown" },
		Launch: func(context.Context, string) (process.Spec, error) {
			return process.Spec{Path: "/does/not/exist"}, nil
		},
	})
	_, err = b.Post(context.Background(), "s", "test", true, []byte(`{"id":1,"method":"x"}`))
	wantCode(t, err, api.CodeAgentStartFailed)
	_, err = b.Post(context.Background(), "s", "unknown", true, []byte(`{"id":1,"method":"x"}`))
	wantCode(t, err, api.CodeUnsupportedAgent)
	if len(b.List()) != 0 {
		t.Error("a failed start left a connection")
	}
	// The id is not taken.
	_, err = b.Post(context.Background(), "s", "other", true, []byte(`{"id":1,"method":"x"}`))
	wantCode(t, err, api.CodeAgentStartFailed)
}

func TestMaxConnections(t *testing.T) {
	f := newFixture(t, bridge.Limits{MaxConnections: 1})
	f.mustPost("a", "test", `{"id":1,"method":"x"}`)
	_, err := f.post("b", "test", `{"id":1,"method":"x"}`)
	wantCode(t, err, api.CodeLimitExceeded)
	f.Close(context.Background(), "a")
	f.mustPost("b", "test", `{"id":1,"method":"x"}`)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	br := bridge.New(bridge.Config{Journal: j, Launch: launch})
	defer br.Shutdown(context.Background())
	for i := 0; b.Loop(); i++ {
		if _, err := br.Post(context.Background(), "s", "test", true, fmt.Appendf(nil, `{"id":%d,"method":"x"}`, i)); err != nil {
			b.Fatal(err)
		}
	}
}

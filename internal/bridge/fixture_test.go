package bridge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
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
		case "": // an answer, which it repeats
			fmt.Fprintf(out, `{"jsonrpc":"2.0","method":"told","params":%s}`+"\n", strings.TrimSpace(string(line)))
		case "die":
			for i := range 20 {
				fmt.Fprintln(os.Stderr, "stderr line", i+1)
			}
			os.Exit(7)
		case "killself":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hang", "session/prompt":
			continue
		case "deaf": // and says so
			fmt.Fprintln(out, `{"method":"deaf"}`)
			out.Flush()
			select {}
		case "stubborn":
			signal.Ignore(syscall.SIGTERM)
			defer func() { select {} }()
		case "rubbish":
			fmt.Fprintln(out, params.Text)
		case "bytes":
			fmt.Fprintln(out, `{"method":"no text","params":"`+"\xff\xfe"+`"}`)
		case "spell": // the id in these words
			frame.ID = json.RawMessage(params.Text)
		case "late":
			fmt.Fprintln(out, `{"method":"later"}`)
			out.Flush()
			continue
		case "reply": // to the late one, whose id is the text
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":"late"}`+"\n", params.Text)
		case "mute": // but for standard error
			out.Flush()
			os.Stdout.Close()
			select {}
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

// observer knows every agent but the one called unknown. The zero value starts the
// agent of this test binary and lets everything pass.
type observer struct {
	launch  func() (bridge.Spec, error)
	observe func(bridge.Event) bridge.Verdict
}

func (o observer) Known(agent string) bool { return agent != "unknown" }

func (o observer) Launch(context.Context, string) (bridge.Spec, error) {
	if o.launch != nil {
		return o.launch()
	}
	exe, err := os.Executable()
	return bridge.Spec{Path: exe, Env: append(os.Environ(), agentVariable+"=1")}, err
}

func (o observer) Prepare(_ context.Context, _, _ string, _ acp.Message, frame []byte) ([]byte, error) {
	return frame, nil
}

func (o observer) Conceal(_ acp.Message, frame []byte) []byte { return frame }

func (o observer) Explain(_ string, frame []byte, _ []string) []byte { return frame }

func (o observer) Observe(e bridge.Event) bridge.Verdict {
	if o.observe == nil {
		return bridge.Verdict{}
	}
	return o.observe(e)
}

type fixture struct {
	*bridge.Bridge
	t       *testing.T
	journal *journal.Journal
	said    atomic.Int64 // frames of clients that are on their way

	reads func(bridge.Event) bridge.Verdict // of frames of the agent; nil lets them pass
}

func newFixture(t *testing.T, limits bridge.Limits) *fixture {
	t.Helper()
	return newFixtureOn(t, journal.Memory(), limits)
}

func newFixtureOn(t *testing.T, store journal.Store, limits bridge.Limits) *fixture {
	t.Helper()
	j, err := journal.Open(store, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, journal: j}
	f.Bridge = bridge.New(bridge.Config{Journal: j, Limits: limits, Observer: observer{observe: func(e bridge.Event) (v bridge.Verdict) {
		if e.From == journal.FromClient {
			f.said.Add(1)
		} else if f.reads != nil {
			v = f.reads(e)
		}
		return v
	}}})
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

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(state, "Z")
}

// waitFor waits for a condition.
var waitFor = testkit.Await

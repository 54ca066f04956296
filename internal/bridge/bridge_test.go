package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

func TestRawBytesStayRaw(t *testing.T) {
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
	for in, want := range map[string]string{`"1"`: `1`, `"1.0"`: `1`, `1`: `1`, `"abc"`: `"abc"`, `"2024-11-05"`: `"2024-11-05"`, `null`: `null`, `2`: `1`, `"2"`: `1`, `"2.0"`: `1`, `17`: `1`, `99999999999999999999`: `1`, `0`: `0`} {
		got := f.mustPost("s", "test", `{"id":1,"method":"initialize","params":{"protocolVersion":`+in+`,"b":1}}`)
		if want := `{"jsonrpc":"2.0","id":1,"result":{"got":{"protocolVersion":` + want + `,"b":1}}}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestBadFrames(t *testing.T) {
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
		{"no text", "test", "{\"id\":1,\"method\":\"x\xff\"}", api.CodeInvalidJSON},
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

// TestIDsInOtherWords has an agent spell the ids of its replies in its own way.
func TestIDsInOtherWords(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	for id, spelled := range map[string]string{`"\u0061\/b"`: `"a/b"`, `"é"`: `"\u00e9"`, `1e2`: `100`, `7.0`: `7`, `{"a": 1}`: `{"a":1}`} {
		reply := f.mustPost("s", "", `{"id":`+id+`,"method":"spell","params":{"text":`+strconv.Quote(spelled)+`}}`)
		if !strings.HasPrefix(reply, `{"jsonrpc":"2.0","id":`+spelled+`,"result":`) {
			t.Errorf("%s was answered with %s", id, reply)
		}
	}
}

func TestConnectionIDs(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	for _, id := range []string{"a/../b", " ", "€", strings.Repeat("x", 5000), strings.Repeat("x", 255) + "€"} {
		f.mustPost(id, "test", `{"id":1,"method":"x"}`)
		f.events(id, nil, has(`"id":1`))
	}
	known := len(f.List())
	for _, id := range []string{"a\x00b", "a\xffb"} {
		_, err := f.post(id, "test", `{"id":1,"method":"x"}`)
		wantCode(t, err, api.CodeInvalidRequest)
	}
	if list := f.List(); len(list) != known {
		t.Errorf("an id that is not text left a connection: %v", list)
	}
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

func TestWaitersLearnOfExitAtOnce(t *testing.T) {
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

// TestUnreadFrames kills an agent that works on one frame and has more of them in
// its input.
func TestUnreadFrames(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("a", "mock", `{"jsonrpc":"2.0","id":"first","method":"x"}`)
	errs := make([]error, 4)
	var posts sync.WaitGroup
	post := func(i int, method string, size int) {
		posts.Go(func() {
			_, errs[i] = f.post("a", "", fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"text":%q}}`, i, method, strings.Repeat("x", size)))
		})
	}
	post(0, "deaf", 0)
	f.events("a", nil, has(`"deaf"`))
	for i := 1; i < len(errs); i++ {
		post(i, "unread", i*20_000) // in all more than a pipe holds
		waitFor(t, "the frame to be on its way", func() bool { return f.said.Load() == int64(i+2) })
	}
	if err := syscall.Kill(f.List()[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	posts.Wait()
	for i, err := range errs {
		wantCode(t, err, api.CodeAgentProcessExited)
		if errors.Is(err, bridge.ErrUnread) != (i > 0) {
			t.Errorf("frame %d: %v", i, err)
		}
	}
}

// TestMuteAgent has an agent close its output and live on: it cannot answer any
// more, so nobody waits for it.
func TestMuteAgent(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	_, err := f.post("s", "", `{"id":2,"method":"mute"}`)
	wantCode(t, err, api.CodeAgentProcessExited)
}

// TestReplySeenElsewhere ends requests as soon as a reader of the stream has seen
// their replies, as the npm client does with a server it stops after its last
// prompt. None of them may be told that there was no reply.
func TestReplySeenElsewhere(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			id := strconv.Itoa(n)
			f.mustPost(id, "test", `{"id":0,"method":"x"}`)
			for last := uint64(1); last < 100; last++ {
				ctx, cancel := context.WithCancel(context.Background())
				posted := make(chan error, 1)
				go func() {
					_, err := f.Post(ctx, id, "", false, []byte(`{"id":1,"method":"x"}`))
					posted <- err
				}()
				f.events(id, &last, has(`"result"`))
				cancel()
				if err := <-posted; err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDeadAgentStartsAnew(t *testing.T) {
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

func TestTimeoutIsAnswered(t *testing.T) {
	f := newFixture(t, bridge.Limits{RequestTimeout: 50 * time.Millisecond})
	_, err := f.post("s", "test", `{"id":1,"method":"hang"}`)
	problem := wantCode(t, err, api.CodeTimeout)
	if problem.Status != 504 {
		t.Errorf("status %d", problem.Status)
	}
	f.mustPost("s", "", `{"id":1,"method":"x"}`) // the id is free again

	ctx, leave := context.WithCancel(context.Background())
	leave()
	if _, err := f.Post(ctx, "s", "", false, []byte(`{"id":2,"method":"hang"}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left was told %v", err)
	}
	waitFor(t, "the id of a client that left to be free again", func() bool {
		_, err := f.post("s", "", `{"id":2,"method":"x"}`)
		return err == nil
	})

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

func TestDuplicateID(t *testing.T) {
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

// TestBytesOfAgents holds what readers get to UTF-8, without losing the frame.
func TestBytesOfAgents(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"bytes"}`)
	f.events("s", nil, has("{\"method\":\"no text\",\"params\":\"\uFFFD\"}"))
}

func TestLongLine(t *testing.T) {
	f := newFixture(t, bridge.Limits{MaxFrameBytes: 1 << 20})
	reply := f.mustPost("s", "test", `{"id":"long","method":"long","params":{"n":52428800}}`)
	if !strings.Contains(reply, `"id":"long","error"`) || !strings.Contains(reply, "exceeds maxFrameBytes (1048576)") {
		t.Errorf("got %s", reply)
	}
	f.mustPost("s", "", `{"id":2,"method":"long","params":{"n":1000000}}`) // below the limit it passes
	f.events("s", nil, has(`_adapter/invalid_stdout`))
}

func TestDeafAgent(t *testing.T) {
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

// forgetful is a store that deletes no records, as one on a full disk.
type forgetful struct{ journal.Store }

func (forgetful) DeleteRecord(context.Context, string, string) error {
	return errors.New("no space left on device")
}

func TestCloseWithoutStore(t *testing.T) {
	f := newFixtureOn(t, forgetful{journal.Memory()}, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	pid := f.List()[0].PID
	wantCode(t, f.Close(context.Background(), "s"), api.CodeStorageFailed)
	waitFor(t, "the agent to be gone", func() bool { return !alive(pid) })
}

// TestStalledAnswer has a client's answer stall while its own request of the same
// id waits: the request still gets its reply.
func TestStalledAnswer(t *testing.T) {
	f := newFixture(t, bridge.Limits{WriteStall: 100 * time.Millisecond})
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	reply := make(chan string)
	go func() { reply <- f.mustPost("s", "", `{"id":2,"method":"late"}`) }()
	f.events("s", nil, has("later"))
	pid := f.List()[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := f.post("s", "", fmt.Sprintf(`{"id":2,"result":{"text":"%s"}}`, strings.Repeat("x", 600<<10)))
	wantCode(t, err, api.CodeAgentNotReading)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.mustPost("s", "", `{"id":3,"method":"reply","params":{"text":"2"}}`)
	if got := <-reply; got != `{"jsonrpc":"2.0","id":2,"result":"late"}` {
		t.Errorf("got %s", got)
	}
}

func TestCloseEndsTheWholeGroup(t *testing.T) {
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

// TestCloseAndOpen opens a connection while the agent of the one before it, of the
// same id, takes its time to end.
func TestCloseAndOpen(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":1,"method":"stubborn"}`)
	pid := f.List()[0].PID
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Close(ctx, "s"); err != nil {
		t.Fatal(err)
	}
	f.mustPost("s", "test", `{"id":1,"method":"x"}`)
	if alive(pid) {
		t.Error("two agents have one connection")
	}
}

func TestRestartOfTheServer(t *testing.T) {
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	first := bridge.New(bridge.Config{Journal: j, Observer: observer{}})
	if _, err := first.Post(context.Background(), "s", "test", true, []byte(`{"id":1,"method":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if err := first.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Post(context.Background(), "s", "test", true, []byte(`{"id":2,"method":"x"}`)); !errors.Is(err, api.CodeShuttingDown) {
		t.Errorf("a bridge that was shut down answered %v", err)
	}

	f := &fixture{Bridge: bridge.New(bridge.Config{Journal: j, Observer: observer{}}), t: t, journal: j}
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

// TestShutdownWithoutTime has no time left to ask an agent that would not listen.
func TestShutdownWithoutTime(t *testing.T) {
	f := newFixture(t, bridge.Limits{StopGrace: time.Minute})
	f.mustPost("s", "test", `{"id":1,"method":"stubborn"}`)
	pid := f.List()[0].PID
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown gave %v", err)
	}
	if alive(pid) {
		t.Error("the agent lives on")
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

// TestPostsAtOnce has posts of all sizes share the input of one agent: those
// that fit into its pipe and those that have to wait for it.
func TestPostsAtOnce(t *testing.T) {
	f := newFixture(t, bridge.Limits{})
	f.mustPost("s", "test", `{"id":"first","method":"x"}`)
	var wg sync.WaitGroup
	for poster := range 8 {
		wg.Go(func() {
			for i, size := range []int{1, 3000, 200_000, 10, 70_000, 1, 1, 5000} {
				params := fmt.Sprintf(`{"of":"%d %d","text":"%s"}`, poster, i, strings.Repeat("x", size))
				reply, err := f.post("s", "", fmt.Sprintf(`{"id":%d,"method":"x","params":%s}`, 100*poster+i, params))
				if err != nil || !strings.Contains(reply, params) {
					t.Errorf("post %d of %d: %.100s, %v", i, poster, reply, err)
				}
			}
		})
	}
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
		Observer: observer{launch: func() (bridge.Spec, error) {
			return bridge.Spec{Path: "/does/not/exist"}, nil
		}},
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

func BenchmarkRoundTrip(b *testing.B) {
	j, err := journal.Open(journal.Memory(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	br := bridge.New(bridge.Config{Journal: j, Observer: observer{}})
	defer br.Shutdown(context.Background())
	for i := 0; b.Loop(); i++ {
		if _, err := br.Post(context.Background(), "s", "test", true, fmt.Appendf(nil, `{"id":%d,"method":"x"}`, i)); err != nil {
			b.Fatal(err)
		}
	}
}

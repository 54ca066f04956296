package sandboxagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func newSession(t testing.TB, c *sandboxagent.Client, opts sandboxagent.SessionOptions) *sandboxagent.Session {
	t.Helper()
	opts.Agent = "mock"
	session, err := c.CreateSession(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func mustPrompt(t testing.TB, s *sandboxagent.Session, text string) *sandboxagent.Turn {
	t.Helper()
	turn, err := s.Prompt(testContext(t), sandboxagent.Text(text))
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

func TestSession(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{ID: "mine", Title: "A title", Model: "mock-fast"})
	if session.ID != "mine" {
		t.Errorf("id is %s", session.ID)
	}
	turn := mustPrompt(t, session, "/echo hello there")
	if turn.Text != "hello there" || turn.StopReason != acp.StopEndTurn || turn.LastEvent <= turn.FirstEvent || turn.Turn == "" {
		t.Errorf("turn is %+v", turn)
	}
	info, err := session.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.Title != "A title" || info.Model != "mock-fast" || info.Status != api.SessionIdle || info.CWD != s.dir || info.LastEvent != turn.LastEvent {
		t.Errorf("session is %+v", info)
	}
	if info.Usage.TotalTokens == 0 {
		t.Errorf("usage is %+v", info.Usage)
	}
	text, err := session.Transcript(ctx, sandboxagent.TranscriptMarkdown)
	if err != nil || !strings.Contains(text, "hello there") {
		t.Errorf("transcript is %q, %v", text, err)
	}
	messages, err := session.Messages(ctx)
	if err != nil || len(messages) != 2 || messages[1].Text != "hello there" {
		t.Errorf("messages are %+v, %v", messages, err)
	}
	title := "Another"
	if info, err = session.Update(ctx, api.SessionPatch{Title: &title}); err != nil || info.Title != title {
		t.Errorf("update: %+v, %v", info, err)
	}
	if _, err := s.Session(info.AgentSessionID).Info(ctx); err != nil {
		t.Errorf("get by the id of the agent: %v", err)
	}
	if err := session.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("hello")); !errors.Is(err, sandboxagent.ErrSessionDestroyed) {
		t.Errorf("prompt to a destroyed session: %v", err)
	}
	if err := session.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	mustPrompt(t, session, "/echo back")
	if err := session.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Info(ctx); !errors.Is(err, sandboxagent.ErrSessionNotFound) {
		t.Errorf("info of a purged session: %v", err)
	}
}

func TestSessionSettings(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	for _, err := range []error{session.SetModel(ctx, "mock-fast"), session.SetMode(ctx, "plan"), session.SetThoughtLevel(ctx, "high")} {
		if err != nil {
			t.Error(err)
		}
	}
	options, err := session.ConfigOptions(ctx)
	if o := acp.OptionByID(options, "model"); err != nil || o == nil || o.CurrentValue != "mock-fast" {
		t.Errorf("options are %+v, %v", options, err)
	}
	modes, err := session.Modes(ctx)
	if err != nil || modes.CurrentModeID != "plan" {
		t.Errorf("modes are %+v, %v", modes, err)
	}
	var value *sandboxagent.UnsupportedValueError
	err = session.SetModel(ctx, "gpt-0")
	if !errors.As(err, &value) || value.Value != "gpt-0" || len(value.Allowed) == 0 || !errors.Is(err, api.CodeUnsupportedValue) || !errors.Is(err, sandboxagent.ErrUnsupported) {
		t.Errorf("set a model that is not offered: %v", err)
	}
	var option *sandboxagent.UnsupportedOptionError
	if err := session.SetConfigOption(ctx, "nothing", "on"); !errors.As(err, &option) || len(option.Available) == 0 {
		t.Errorf("set an option that is not offered: %v", err)
	}
	mcp := api.MCPServers{Servers: map[string]api.MCPServer{}}
	if err := session.SetMCPConfig(ctx, mcp); err != nil {
		t.Error(err)
	}
	if _, err := session.MCPConfig(ctx); err != nil {
		t.Error(err)
	}
	if err := session.SetSkillsConfig(ctx, api.SkillsSet{Skills: map[string]api.SkillsConfig{}}); err != nil {
		t.Error(err)
	}
	if _, err := session.SkillsConfig(ctx); err != nil {
		t.Error(err)
	}
}

func TestSessionBusy(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	started, err := session.PromptAsync(ctx, sandboxagent.Text("/silence"))
	if err != nil || started.Turn == "" || started.FirstEvent == 0 {
		t.Fatalf("started %+v, %v", started, err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("hello")); !errors.Is(err, sandboxagent.ErrSessionBusy) {
		t.Errorf("prompt to a busy session: %v", err)
	}
	queued := s.Session(session.ID)
	queued.Queue = true
	answer := make(chan error, 1)
	go func() {
		turn, err := queued.Prompt(ctx, sandboxagent.Text("/echo later"))
		if err == nil && turn.StopReason != acp.StopCancelled {
			err = fmt.Errorf("turn is %+v", turn)
		}
		answer <- err
	}()
	waitInfo(t, session, func(info *api.Session) bool { return info.Queued == 1 })
	result, err := session.Cancel(ctx)
	if err != nil || result.Cancelled != 2 {
		t.Errorf("cancelled %+v, %v", result, err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if turn := mustPrompt(t, session, "/echo on"); turn.Text != "on" {
		t.Errorf("turn is %+v", turn)
	}
	var refused *sandboxagent.RPCError
	if _, err := session.Prompt(ctx, sandboxagent.Text("/error -32000 no key")); !errors.As(err, &refused) || refused.Code != acp.CodeAuthRequired || refused.Message != "no key" {
		t.Errorf("prompt that the agent refuses: %v", err)
	}
	if _, err := session.Prompt(ctx, sandboxagent.Text("/crash 7")); !errors.Is(err, sandboxagent.ErrAgentExited) {
		t.Errorf("prompt to an agent that crashes: %v", err)
	}
}

// waitInfo waits until a session is as ok wants it.
func waitInfo(t testing.TB, s *sandboxagent.Session, ok func(*api.Session) bool) {
	t.Helper()
	testkit.Await(t, "what the session has to be like", func() bool {
		info, err := s.Info(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		return ok(info)
	})
}

func TestSessionsList(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	for i := range 5 {
		newSession(t, s.Client, sandboxagent.SessionOptions{ID: fmt.Sprintf("s%d", i), Title: fmt.Sprintf("number %d", i)})
	}
	if err := s.Session("s3").Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		filter sandboxagent.SessionFilter
		want   int
	}{
		{sandboxagent.SessionFilter{}, 5},
		{sandboxagent.SessionFilter{Status: api.SessionDestroyed}, 1},
		{sandboxagent.SessionFilter{Agent: "claude"}, 0},
		{sandboxagent.SessionFilter{Text: "NUMBER 2"}, 1},
	} {
		got := 0
		for _, err := range s.Sessions(ctx, test.filter) {
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		if got != test.want {
			t.Errorf("%+v: %d sessions, want %d", test.filter, got, test.want)
		}
	}
}

func TestResumeOrCreate(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	if _, err := s.ResumeOrCreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock"}); err == nil {
		t.Error("no error without an id")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			session, err := s.ResumeOrCreateSession(ctx, sandboxagent.SessionOptions{Agent: "mock", ID: "one", ThoughtLevel: "low"})
			if err != nil || session.ID != "one" {
				t.Errorf("got %+v, %v", session, err)
			}
		})
	}
	all.Wait()
	var list []api.Session
	for info, err := range s.Sessions(ctx, sandboxagent.SessionFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info)
	}
	if len(list) != 1 || list[0].ThoughtLevel != "low" {
		t.Errorf("sessions are %+v", list)
	}
}

func TestEvents(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	last := mustPrompt(t, session, "/burst 1200").LastEvent
	check := func(name string, after uint64, events func(func(sandboxagent.SessionEvent, error) bool)) {
		t.Helper()
		next := after + 1
		for e, err := range events {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e.EventIndex != next || !json.Valid(e.Payload) {
				t.Fatalf("%s: event %d, want %d", name, e.EventIndex, next)
			}
			if next++; e.EventIndex == last {
				break
			}
		}
		if next != last+1 {
			t.Errorf("%s: next event would be %d, want %d", name, next, last+1)
		}
	}
	check("history", 0, session.History(ctx, 0))
	check("history in part", 7, session.History(ctx, 7))
	check("events", 0, session.Events(ctx, 0))
	check("events in part", last-3, session.Events(ctx, last-3))

	named := sandboxagent.New(s.BaseURL(), sandboxagent.WithToken(sandboxagent.Token(s.Client)), sandboxagent.WithClientName("onlooker"))
	defer named.Close()
	reading, leave := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range named.Session(session.ID).Events(reading, last) {
		}
	}()
	waitInfo(t, session, func(info *api.Session) bool { return len(info.Clients) == 1 && info.Clients[0].Client == "onlooker" })
	leave()
	<-done
	waitInfo(t, session, func(info *api.Session) bool { return len(info.Clients) == 0 })

	for _, err := range s.Session("nobody").Events(ctx, 0) {
		if !errors.Is(err, sandboxagent.ErrSessionNotFound) {
			t.Errorf("events of no session: %v", err)
		}
	}
}

func TestReadersAheadOfTheLastEventAreTakenBack(t *testing.T) {
	s := newServer(t)
	ctx := testContext(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	last := mustPrompt(t, session, "hello").LastEvent
	want := api.Reset{Cursor: last + 1000, Last: last}
	for e, err := range session.History(ctx, want.Cursor) {
		if err != nil || e.Reset == nil || *e.Reset != want {
			t.Errorf("history: %+v, %v; want %+v", e, err, want)
		}
	}
	read := 0
	for e, err := range session.Events(ctx, want.Cursor) {
		if err != nil {
			t.Fatal(err)
		}
		if read++; read == 1 {
			if u, ok := e.Update(); !ok || u.Kind != sandboxagent.UpdateReset || e.Reset == nil || *e.Reset != want {
				t.Fatalf("first event %+v, want %+v", e, want)
			}
			mustPrompt(t, session, "more")
			continue
		}
		if e.EventIndex != last+1 || e.Cursor() != last+1 {
			t.Errorf("the next event is %d, want %d", e.EventIndex, last+1)
		}
		break
	}
	if read != 2 {
		t.Errorf("%d events", read)
	}
}

func TestStream(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	var said string
	var prompts int
	var turn *sandboxagent.Turn
	for u, err := range session.Stream(testContext(t), sandboxagent.Text("/echo word by word")) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := u.Event.Prompt(); ok {
			prompts++
			if p.Text() != "/echo word by word" || u.Kind != sandboxagent.UpdateEvent {
				t.Errorf("prompt is %q, in an update of kind %s", p.Text(), u.Kind)
			}
		}
		if u.Kind == acp.UpdateAgentMessage {
			said += u.Content.Text
		}
		turn = u.Turn
	}
	if prompts != 1 || said != "word by word" || turn == nil || turn.Text != said {
		t.Errorf("%d prompts, said %q, turn %+v", prompts, said, turn)
	}
}

func TestStreamYieldsEveryUpdateInOrder(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	const n = 20_000
	var text strings.Builder
	count, next := 0, uint64(0)
	for u, err := range session.Stream(testContext(t), sandboxagent.Text(fmt.Sprintf("/burst %d 200", n))) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Turn != nil {
			if full := text.String(); u.Turn.Text != full && !(u.Turn.TextTruncated && strings.HasPrefix(full, u.Turn.Text)) {
				t.Error("text of the turn is not that of its updates")
			}
			break
		}
		if next != 0 && u.Event.EventIndex != next {
			t.Fatalf("event %d, want %d", u.Event.EventIndex, next)
		}
		next = u.Event.EventIndex + 1
		if u.Kind == acp.UpdateAgentMessage {
			count++
			text.WriteString(u.Content.Text)
		}
	}
	if count != n {
		t.Errorf("got %d updates, want %d", count, n)
	}
}

// What a program shows of a turn is told by kinds and fields, without frames.
func TestStreamIsTyped(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{OnPermission: sandboxagent.AllowAll})
	for prompt, want := range map[string]string{
		"/echo x":                        acp.UpdateAgentMessage,
		"/thought x":                     acp.UpdateAgentThought,
		"/plan":                          acp.UpdatePlan,
		"hello there":                    acp.UpdateUsage,
		"create a file called hello.txt": sandboxagent.UpdatePermission,
		"create a file called again.txt": sandboxagent.UpdateResolved,
		"create a file called third.txt": acp.UpdateToolCall,
	} {
		kinds := make(map[string]bool)
		for u, err := range session.Stream(testContext(t), sandboxagent.Text(prompt)) {
			if err != nil {
				t.Fatalf("%s: %v", prompt, err)
			}
			data, err := json.Marshal(u)
			if err != nil || !strings.Contains(string(data), `"sessionUpdate":"`+u.Kind+`"`) {
				t.Errorf("%s: update of kind %s as JSON is %s, %v", prompt, u.Kind, data, err)
			}
			kinds[u.Kind] = true
		}
		if !kinds[want] || !kinds[sandboxagent.UpdateTurnEnd] {
			t.Errorf("%s: kinds are %v, want %s", prompt, kinds, want)
		}
	}
}

// A reader of events, a prompt and the session live through a server that is
// killed: the reader sees every event once, the prompt says what became of it.
func TestSessionOutlivesServer(t *testing.T) {
	sandbox, err := sandboxagent.Start(testContext(t), localIn(t.TempDir())...)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	client := sandbox.Client
	session := newSession(t, client, sandboxagent.SessionOptions{})
	mustPrompt(t, session, "/echo the word is swordfish")

	reading, leave := context.WithCancel(testContext(t))
	defer leave()
	var mu sync.Mutex
	var seen []uint64
	read := make(chan error, 1)
	go func() {
		for e, err := range session.Events(reading, 0) {
			if err != nil {
				read <- err
				return
			}
			mu.Lock()
			seen = append(seen, e.EventIndex)
			mu.Unlock()
		}
		read <- nil
	}()
	turn := make(chan error, 1)
	go func() {
		_, err := session.Prompt(testContext(t), sandboxagent.Text("/silence"))
		turn <- err
	}()
	waitInfo(t, session, func(info *api.Session) bool { return info.Status == api.SessionRunning })
	if err := sandbox.Kill(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-turn; !errors.Is(err, sandboxagent.ErrTurnInterrupted) {
		t.Errorf("interrupted turn: %v", err)
	}
	after := mustPrompt(t, session, "what did I say")
	if !strings.Contains(after.Text, "swordfish") {
		t.Errorf("it said %q", after.Text)
	}
	testkit.Await(t, "the last event of the turn", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) > 0 && seen[len(seen)-1] >= after.LastEvent
	})
	leave()
	if err := <-read; err != nil {
		t.Error(err)
	}
	for i, index := range seen {
		if index != uint64(i+1) {
			t.Fatalf("event %d came as number %d", index, i+1)
		}
	}
}

// cutter breaks off the answer to every prompt after some bytes.
type cutter struct{ after int64 }

func (c cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/prompt") {
		body := resp.Body
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(body, c.after), body}
	}
	return resp, err
}

// cutStream breaks off every event stream after some bytes.
type cutStream struct{ bytes int64 }

func (c cutStream) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.Header.Get("Accept") == "text/event-stream" {
		body := resp.Body
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(body, c.bytes), body}
	}
	return resp, err
}

func decodeJSON(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}

// A prompt whose answer breaks off goes on, and so does the one who waits.
func TestPromptBreaksOff(t *testing.T) {
	for _, after := range []int64{0, 700, 20_000} {
		s := newServer(t, sandboxagent.WithHTTPClient(&http.Client{Transport: cutter{after}}))
		session := newSession(t, s.Client, sandboxagent.SessionOptions{})
		last := uint64(0)
		for _, queue := range []bool{false, true} {
			session.Queue = queue
			next := uint64(0)
			var turn *sandboxagent.Turn
			for u, err := range session.Stream(testContext(t), sandboxagent.Text("/burst 300")) {
				switch {
				case err != nil:
					t.Fatalf("after %d bytes: %v", after, err)
				case u.Turn != nil:
					turn = u.Turn
				case next != 0 && u.Event.EventIndex != next:
					t.Fatalf("after %d bytes: event %d, want %d", after, u.Event.EventIndex, next)
				}
				next = u.Event.EventIndex + 1
			}
			if turn == nil || turn.StopReason != acp.StopEndTurn || turn.Text == "" || turn.FirstEvent <= last {
				t.Errorf("after %d bytes: turn is %+v", after, turn)
			}
			last = turn.LastEvent
		}
	}
}

// Who leaves does not end the turn, and a session that is purged ends its events.
func TestLeaveAndPurge(t *testing.T) {
	s := newServer(t)
	session := newSession(t, s.Client, sandboxagent.SessionOptions{})
	ctx, leave := context.WithCancel(testContext(t))
	left := make(chan error, 1)
	go func() {
		_, err := session.Prompt(ctx, sandboxagent.Text("/silence"))
		left <- err
	}()
	waitInfo(t, session, func(info *api.Session) bool { return info.Status == api.SessionRunning })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("left with %v", err)
	}
	info, err := session.Info(testContext(t))
	if err != nil || info.Status != api.SessionRunning {
		t.Errorf("session is %+v, %v", info, err)
	}
	events := make(chan error, 1)
	go func() {
		var last error
		for _, last = range session.Events(testContext(t), info.LastEvent) {
		}
		events <- last
	}()
	waitInfo(t, session, func(info *api.Session) bool { return len(info.Clients) == 1 })
	if err := session.Purge(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-events; !errors.Is(err, sandboxagent.ErrSessionNotFound) {
		t.Errorf("events of a purged session end with %v", err)
	}
}

func BenchmarkEvents(b *testing.B) {
	s := newServer(b)
	session := newSession(b, s.Client, sandboxagent.SessionOptions{})
	last := mustPrompt(b, session, "/burst 10000").LastEvent
	for b.Loop() {
		for e, err := range session.Events(testContext(b), 0) {
			if err != nil {
				b.Fatal(err)
			}
			if e.EventIndex == last {
				break
			}
		}
	}
	b.ReportMetric(float64(last)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

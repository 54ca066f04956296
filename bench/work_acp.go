package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	promptRounds = 2000
	wornPrompts  = 200_000
	liveAgents   = 1_000
	oneReader    = 50_000 // frames
	manyReaders  = 20_000
	crowdReaders = 1_000 // frames
	replayEvents = 100_000
	readerIdle   = 2 * time.Second // after which a reader has got all it will
)

var acpWork = []work{
	{name: "prompt", do: measurePrompt, rows: []row{
		{title: "prompt round trip in a session, p50", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
		{title: "prompt round trip in a session, p99", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "of it, p50 of a bare relay that keeps frames before it shows them", unit: "ms", lessBetter: true},
		{title: "the same by a net/http client, p50", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
	}},
	{name: "sessions8", do: measureSessions, rows: []row{
		{title: "prompts, 8 sessions at once", unit: "1/s", budget: budget{ratio: 1.5}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "of it, times a bare relay that keeps frames before it shows them", unit: "x"},
		{title: "the same by a net/http client", unit: "1/s", budget: budget{ratio: 1.5}},
	}},
	{name: "worn", do: measureWorn, rows: []row{
		{title: "prompt round trip after 200,000 prompts, p50", unit: "ms", lessBetter: true},
		{title: "of it, times that of the first prompts", unit: "x", lessBetter: true, budget: budget{limit: 1.2}},
	}},
	{name: "firstanswer", do: measureFirstAnswer, rows: []row{
		{title: "agent start to first answer, p50", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
	}},
	{name: "agents", do: measureAgents, rows: []row{
		{title: "memory of the server for each of 1,000 live agents", unit: "KiB", lessBetter: true, budget: budget{limit: 100}},
	}},
	{name: "frames1", do: func(ctx context.Context, l *lab, s side) ([]sample, error) {
		return measureFrames(ctx, l, s, 1, oneReader)
	}, rows: []row{
		{title: "agent frames of 250 B to 1 reader", unit: "frames/s", lossy: true, budget: budget{ratio: 5}},
	}},
	{name: "frames20", do: func(ctx context.Context, l *lab, s side) ([]sample, error) {
		return measureFrames(ctx, l, s, 20, manyReaders)
	}, rows: []row{
		{title: "agent frames of 250 B to 20 readers, sum", unit: "frames/s", lossy: true, budget: budget{ratio: 10}},
	}},
	{name: "crowd", do: measureCrowd, rows: []row{
		{title: "agent frames of 250 B to 1,000 readers, sum", unit: "frames/s", lossy: true},
		{title: "memory growth with 1,000 readers", unit: "MiB", lessBetter: true},
	}},
	{name: "replay", do: measureReplay, oursOnly: "keeps 1,024 events, in memory only", rows: []row{
		{title: "replay of 100,000 events from disk after a restart", unit: "ms", lessBetter: true, lossy: true, budget: budget{limit: 1000}},
	}},
}

// acpSession is a session that is open on a connection of a server.
type acpSession struct {
	addr, id  string // id is that of the connection
	sessionID string
}

func (a acpSession) url() string { return "/v1/acp/" + a.id }

// post prepares a post of a JSON-RPC request.
func (a acpSession) post(query, method string, id int, params string) []byte {
	return request(a.addr, "POST", a.url()+query, "application/json", rpc(method, id, params))
}

func rpc(method string, id int, params string) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, id, method, params)
}

// prompt prepares a prompt. The ids of a session begin with 2.
func (a acpSession) prompt(id int, params string) []byte {
	return a.post("", "session/prompt", id, fmt.Sprintf(`"sessionId":%q,%s`, a.sessionID, params))
}

const promptParams = `"prompt":[{"type":"text","text":"hello"}]`

// openSession starts an agent on a connection and opens a session with it, as a user's
// client does. Its events begin with both answers.
func openSession(c *conn, addr, id string) (acpSession, error) {
	a := acpSession{addr: addr, id: id}
	if _, err := c.expect(a.post("?agent=mock", "initialize", 0, `"protocolVersion":1,"clientCapabilities":{}`), 200); err != nil {
		return a, fmt.Errorf("initialize: %w", err)
	}
	body, err := c.expect(a.post("", "session/new", 1, `"cwd":"/","mcpServers":[]`), 200)
	if err != nil {
		return a, fmt.Errorf("open session: %w", err)
	}
	var reply struct{ Result struct{ SessionID string } }
	if err := json.Unmarshal(body, &reply); err != nil || reply.Result.SessionID == "" {
		return a, fmt.Errorf("open session: %s, %v", body, err)
	}
	a.sessionID = reply.Result.SessionID
	return a, nil
}

// roundTrips returns what each of n prompts of a session took, in ms.
func roundTrips(c *conn, a acpSession, from, n int) ([]float64, error) {
	took := make([]float64, n)
	for i := range took {
		req := a.prompt(from+i, promptParams)
		began := time.Now()
		if _, err := c.expect(req, 200); err != nil {
			return nil, err
		}
		took[i] = ms(time.Since(began))
	}
	return took, nil
}

// connect opens a session on a connection of HTTP of its own.
func connect(addr, id string) (*conn, acpSession, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, acpSession{}, err
	}
	a, err := openSession(c, addr, id)
	if err != nil {
		c.close()
	}
	return c, a, err
}

func measurePrompt(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, a, err := connect(srv.addr, "bench")
		if err != nil {
			return nil, err
		}
		defer c.close()
		var took []float64
		each, err := srv.during(promptRounds, func() error {
			took, err = roundTrips(c, a, 2, promptRounds)
			return err
		})
		if err != nil {
			return nil, err
		}
		ordinary, err := ordinaryPrompts([]acpSession{a}, promptRounds)
		if err != nil {
			return nil, err
		}
		bare, err := l.bareRoundTrips(ctx, promptRounds)
		return []sample{{value: percentile(took, .5)}, {value: percentile(took, .99)}, {value: each.own}, {value: percentile(bare, .5)}, {value: percentile(ordinary.took, .5)}}, err
	})
}

// promptSessions prompts several sessions at once, n times each.
func promptSessions(open []acpSession, conns []*conn, n int) error {
	var group errgroup.Group
	for i, a := range open {
		requests := make([][]byte, n) // made before they count
		for k := range requests {
			requests[k] = a.prompt(1000+k, promptParams)
		}
		group.Go(func() error {
			for _, req := range requests {
				if _, err := conns[i].expect(req, 200); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// openSessions opens n sessions, each on a connection of its own.
func openSessions(addr string, n int) (conns []*conn, open []acpSession, err error) {
	for i := range n {
		c, a, err := connect(addr, fmt.Sprint("bench", i))
		if err != nil {
			return conns, open, err
		}
		conns, open = append(conns, c), append(open, a)
	}
	return conns, open, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

func measureSessions(ctx context.Context, l *lab, s side) ([]sample, error) {
	const sessions, times = 8, promptRounds / 4
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		conns, open, err := openSessions(srv.addr, sessions)
		defer closeAll(conns)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		each, err := srv.during(sessions*times, func() error { return promptSessions(open, conns, times) })
		if err != nil {
			return nil, err
		}
		rate := sessions * times / time.Since(began).Seconds()
		ordinary, err := ordinaryPrompts(open, times)
		if err != nil {
			return nil, err
		}
		bare, err := l.bareSessions(ctx, sessions, times)
		return []sample{{value: rate}, {value: each.own}, {value: rate / bare}, {value: ordinary.rate}}, err
	})
}

// measureWorn compares the first prompts of a session with those after many.
func measureWorn(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, a, err := connect(srv.addr, "bench")
		if err != nil {
			return nil, err
		}
		defer c.close()
		first, err := roundTrips(c, a, 2, promptRounds)
		if err != nil {
			return nil, err
		}
		for i := range wornPrompts {
			if _, err := c.expect(a.prompt(10_000+i, promptParams), 200); err != nil {
				return nil, err
			}
			if i%1000 == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		last, err := roundTrips(c, a, 1_000_000, promptRounds)
		return []sample{{value: percentile(last, .5)}, {value: percentile(last, .5) / percentile(first, .5)}}, err
	})
}

// measureFirstAnswer starts agents one after the other.
func measureFirstAnswer(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, err := dial(srv.addr)
		if err != nil {
			return nil, err
		}
		defer c.close()
		took := make([]float64, 20)
		for i := range took {
			a := acpSession{addr: srv.addr, id: fmt.Sprint("bench", i)}
			began := time.Now()
			if _, err := c.expect(a.post("?agent=mock", "initialize", 0, `"protocolVersion":1`), 200); err != nil {
				return nil, err
			}
			took[i] = ms(time.Since(began))
		}
		return []sample{{value: percentile(took, .5)}}, nil
	})
}

// measureAgents keeps many agents, each in a session that was prompted.
func measureAgents(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, a, err := connect(srv.addr, "first") // what is made once
		if err != nil {
			return nil, err
		}
		defer c.close()
		if _, err := c.expect(a.prompt(2, promptParams), 200); err != nil {
			return nil, err
		}
		time.Sleep(settle)
		before, err := memoryOf(srv.pids())
		if err != nil {
			return nil, err
		}
		for i := range liveAgents - 1 {
			a, err := openSession(c, srv.addr, fmt.Sprint("bench", i))
			if err != nil {
				return nil, fmt.Errorf("agent %d: %w", i+2, err)
			}
			if _, err := c.expect(a.prompt(2, promptParams), 200); err != nil {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		time.Sleep(settle)
		after, err := memoryOf(srv.pids())
		return []sample{{value: float64(after.resident-before.resident) / (liveAgents - 1) / (1 << 10)}}, err
	})
}

// reader is one client that follows the events of an agent.
type reader struct {
	eventCounter
	stamped
	done chan struct{}
	err  error
}

// burstReply is how the event begins that ends a burst.
var burstReply = []byte(`"stopReason"`)

// openingEvents are those of a stream besides the frames of a burst: the answers to
// initialize, to session/new, and to the prompt.
const openingEvents = 3

// follow opens an event stream and counts until the answer with which a burst ends.
func follow(ctx context.Context, client *http.Client, url string, cursor string) (*reader, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 200 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		resp.Body.Close()
		return nil, &statusError{resp.StatusCode, string(body)}
	}
	r := &reader{done: make(chan struct{})}
	r.stamped.r = resp.Body
	go func() {
		defer close(r.done)
		defer resp.Body.Close()
		r.err = r.count(newReader(&r.stamped), func(data []byte) error {
			if len(data) < frameBytes/2 && bytes.Contains(data, burstReply) {
				return errStop
			}
			return nil
		})
	}()
	return r, nil
}

// streamClient makes a client for event streams.
func streamClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableCompression: true, ReadBufferSize: 64 << 10, MaxIdleConnsPerHost: -1}}
}

// join waits until every reader has ended, or got nothing for a while.
func join(readers []*reader, cancel context.CancelFunc) {
	for _, r := range readers {
		for waiting := true; waiting; {
			select {
			case <-r.done:
				waiting = false
			case <-time.After(50 * time.Millisecond):
				if time.Since(r.at()) > readerIdle {
					waiting = false
				}
			}
		}
	}
	cancel()
	for _, r := range readers {
		<-r.done
	}
}

// burst lets the agent say something many times to many readers, and returns
// how many frames per second reached them in sum, and how many never did.
func burst(ctx context.Context, srv *server, readers, frames int) (sample, error) {
	c, err := dial(srv.addr)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	a, err := openSession(c, srv.addr, "bench")
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := streamClient()
	var all []*reader
	for range readers {
		r, err := follow(ctx, client, "http://"+srv.addr+a.url(), "")
		if err != nil {
			return sample{}, err
		}
		all = append(all, r)
	}
	began := time.Now()
	if _, err := c.expect(a.prompt(2, fmt.Sprintf(`"burst":%d`, frames)), 200); err != nil {
		return sample{}, err
	}
	for _, r := range all {
		r.stamped.last.CompareAndSwap(0, began.UnixNano())
	}
	join(all, cancel)
	var delivered, lost int64
	end := began
	for _, r := range all {
		delivered += r.events - openingEvents
		lost += int64(frames) + openingEvents - (r.events - r.repeated)
		if at := r.at(); at.After(end) {
			end = at
		}
	}
	return sample{float64(delivered) / end.Sub(began).Seconds(), lost}, nil
}

func measureFrames(ctx context.Context, l *lab, s side, readers, frames int) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		one, err := burst(ctx, srv, readers, frames)
		return []sample{one}, err
	})
}

func measureCrowd(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		before, err := memoryOf(srv.pids())
		if err != nil {
			return nil, err
		}
		one, err := burst(ctx, srv, 1000, crowdReaders)
		if err != nil {
			return nil, err
		}
		after, err := memoryOf(srv.pids())
		return []sample{one, {value: mib(after.peak - before.resident)}}, err
	})
}

func measureReplay(ctx context.Context, l *lab, s side) ([]sample, error) {
	srv, err := l.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { srv.leave() }()
	if err := fill(srv, replayEvents); err != nil {
		return nil, err
	}
	srv.stop()
	if srv, err = l.startIn(ctx, s, srv.home); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	r, err := follow(ctx, streamClient(), "http://"+srv.addr+acpSession{id: "bench"}.url(), "0")
	if err != nil {
		return nil, err
	}
	join([]*reader{r}, cancel)
	lost := replayEvents + openingEvents - r.events + 2*r.repeated
	return []sample{{ms(r.at().Sub(began)), lost}}, r.err
}

func fill(srv *server, frames int) error {
	c, err := dial(srv.addr)
	if err != nil {
		return err
	}
	defer c.close()
	a, err := openSession(c, srv.addr, "bench")
	if err != nil {
		return err
	}
	_, err = c.expect(a.prompt(2, fmt.Sprintf(`"burst":%d`, frames)), 200)
	return err
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	promptRounds  = 2000
	oneReader     = 50_000 // frames
	manyReaders   = 20_000
	crowdReaders  = 1_000 // frames
	replayEvents  = 100_000
	readerIdle    = 2 * time.Second // after which a reader has got all it will
	connectionURL = "/v1/acp/bench"
)

var acpWork = []work{
	{name: "prompt", do: measurePrompt, rows: []row{
		{title: "prompt round trip, p50", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
		{title: "prompt round trip, p99", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
		{title: "prompts, 8 at once", unit: "1/s", budget: budget{ratio: 2}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
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

// frame prepares a post of a JSON-RPC request.
func frame(srv *server, id int, params string) []byte {
	target := connectionURL
	if id == 0 {
		target += "?agent=mock"
	}
	return request(srv.addr, "POST", target, "application/json",
		fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"session/prompt","params":{"sessionId":"bench",%s}}`, id, params))
}

const promptParams = `"prompt":[{"type":"text","text":"hello"}]`

// beginACP starts the agent, whose answer is event 1.
func beginACP(c *conn, srv *server) error {
	_, err := c.expect(frame(srv, 0, promptParams), 200)
	return err
}

func measurePrompt(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, err := dial(srv.addr)
		if err != nil {
			return nil, err
		}
		defer c.close()
		if err := beginACP(c, srv); err != nil {
			return nil, err
		}
		took := make([]float64, promptRounds)
		for i := range took {
			req := frame(srv, i+1, promptParams)
			began := time.Now()
			if _, err := c.expect(req, 200); err != nil {
				return nil, err
			}
			took[i] = ms(time.Since(began))
		}
		var requests [8][promptRounds / 4][]byte // made before the time counts
		for worker := range requests {
			for i := range requests[worker] {
				requests[worker][i] = frame(srv, (worker+1)*1_000_000+i, promptParams)
			}
		}
		rate, each, err := parallelSpent(srv, len(requests), len(requests[0]), func(c *conn, worker, i int) error {
			_, err := c.expect(requests[worker][i], 200)
			return err
		})
		return []sample{{value: percentile(took, .5)}, {value: percentile(took, .99)}, {value: rate}, {value: each.own}}, err
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

// follow opens an event stream and counts until the answer with which a burst
// ends has come twice: the first is that of the start of the agent.
func follow(ctx context.Context, client *http.Client, url string, cursor string, replies int) (*reader, error) {
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
		seen := 0
		r.err = r.count(newReader(&r.stamped), func(data []byte) error {
			if len(data) < frameBytes/2 && bytes.Contains(data, burstReply) {
				if seen++; seen == replies {
					return errStop
				}
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
	if err := beginACP(c, srv); err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := streamClient()
	var all []*reader
	for range readers {
		r, err := follow(ctx, client, "http://"+srv.addr+connectionURL, "", 2)
		if err != nil {
			return sample{}, err
		}
		all = append(all, r)
	}
	began := time.Now()
	if _, err := c.expect(frame(srv, 1, fmt.Sprintf(`"burst":%d`, frames)), 200); err != nil {
		return sample{}, err
	}
	for _, r := range all {
		r.stamped.last.CompareAndSwap(0, began.UnixNano())
	}
	join(all, cancel)
	var delivered, lost int64
	end := began
	for _, r := range all {
		delivered += r.events - 2
		lost += int64(frames) + 2 - (r.events - r.repeated)
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
		before, err := memoryOf(srv.pid())
		if err != nil {
			return nil, err
		}
		one, err := burst(ctx, srv, 1000, crowdReaders)
		if err != nil {
			return nil, err
		}
		after, err := memoryOf(srv.pid())
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
	r, err := follow(ctx, streamClient(), "http://"+srv.addr+connectionURL, "0", 2)
	if err != nil {
		return nil, err
	}
	join([]*reader{r}, cancel)
	lost := replayEvents + 2 - r.events + 2*r.repeated
	return []sample{{ms(r.at().Sub(began)), lost}}, r.err
}

func fill(srv *server, frames int) error {
	c, err := dial(srv.addr)
	if err != nil {
		return err
	}
	defer c.close()
	if err := beginACP(c, srv); err != nil {
		return err
	}
	_, err = c.expect(frame(srv, 1, fmt.Sprintf(`"burst":%d`, frames)), 200)
	return err
}

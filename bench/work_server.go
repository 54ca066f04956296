package main

import (
	"context"
	"os"
	"sync"
	"time"
)

var serverWork = []work{
	{name: "start", do: measureStart, rows: []row{
		{title: "start to healthy", unit: "ms", lessBetter: true, budget: budget{limit: 15}},
		{title: "first start to healthy, empty data folder", unit: "ms", lessBetter: true},
	}},
	{name: "idle", do: measureIdle, rows: []row{
		{title: "idle memory (PSS) of all processes of the server", unit: "MiB", lessBetter: true, budget: budget{limit: 12}},
		{title: "of it anonymous", unit: "MiB", lessBetter: true},
	}},
	{name: "binary", do: measureBinary, rows: []row{
		{title: "binary", unit: "MB", lessBetter: true, budget: budget{limit: 28}},
	}},
	{name: "health", do: measureHealth, rows: []row{
		{title: "`/v1/health`, 8 connections", unit: "requests/s"},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "of it, times a bare net/http server", unit: "x"},
		{title: "the same by a net/http client", unit: "requests/s"},
		{title: "the same by wrk", unit: "requests/s", budget: budget{ratio: 1.1}},
		{title: "of it, times a bare net/http server", unit: "x", budget: budget{limit: 0.85}},
	}},
}

func measureStart(ctx context.Context, l *lab, s side) ([]sample, error) {
	home, err := l.newHome()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	var took [2]time.Duration
	for i := range took {
		began := time.Now()
		srv, err := l.startIn(ctx, s, home)
		if err != nil {
			return nil, err
		}
		took[i] = time.Since(began)
		srv.stop()
	}
	return []sample{{value: ms(took[1])}, {value: ms(took[0])}}, nil
}

// settle is how long a server is left alone before it counts as idle.
const settle = time.Second

func measureIdle(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		time.Sleep(settle)
		m, err := memoryOf(srv.pids())
		return []sample{{value: mib(m.resident)}, {value: mib(m.anon)}}, err
	})
}

func measureBinary(_ context.Context, l *lab, s side) ([]sample, error) {
	info, err := os.Stat(l.programs[s])
	if err != nil {
		return nil, err
	}
	return []sample{{value: float64(info.Size()) / 1e6}}, nil
}

func measureHealth(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		req := request(srv.addr, "GET", "/v1/health", "", nil)
		ask := func(c *conn, _, _ int) error {
			_, err := c.expect(req, 200)
			return err
		}
		rate, each, err := parallelSpent(srv, 8, 5000, ask)
		if err != nil {
			return nil, err
		}
		ordinary, byWrk, err := otherClients(ctx, srv.addr, "/v1/health", 8, 1000)
		if err != nil {
			return nil, err
		}
		ref, err := l.startReference(ctx)
		if err != nil {
			return nil, err
		}
		defer ref.stop()
		bare, err := parallel(ref.addr, 8, 5000, ask)
		if err != nil {
			return nil, err
		}
		bareWrk, err := wrk(ctx, ref.addr, "/v1/health", 8)
		return []sample{{value: rate}, {value: each.own}, {value: rate / bare}, {value: ordinary}, {value: byWrk}, {value: byWrk / bareWrk}}, err
	})
}

// parallel does something times times on each of conns connections and returns
// how often per second it was done.
func parallel(addr string, conns, times int, do func(c *conn, worker, i int) error) (float64, error) {
	var group sync.WaitGroup
	errs := make(chan error, conns)
	began := time.Now()
	for worker := range conns {
		group.Go(func() {
			c, err := dial(addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.close()
			for i := range times {
				if err := do(c, worker, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(conns*times) / took.Seconds(), nil
	}
}

// parallelSpent is parallel, and also returns what one time took the server.
func parallelSpent(srv *server, conns, times int, do func(c *conn, worker, i int) error) (rate float64, each spent, err error) {
	each, err = srv.during(conns*times, func() error {
		rate, err = parallel(srv.addr, conns, times, do)
		return err
	})
	return rate, each, err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func mib(n int64) float64        { return float64(n) / (1 << 20) }

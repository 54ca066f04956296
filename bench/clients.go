package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Other clients than ours: what a server looks like depends on who asks. Ours does
// little for each byte, wrk less, and net/http is what programs in Go have.

// byOrdinary is what came of requests by net/http.
type byOrdinary struct {
	rate float64   // requests per second
	took []float64 // ms
}

// ordinary sends n requests on each of conns connections, one after the other.
func ordinary(conns, n int, make func(worker, i int) (*http.Request, error)) (byOrdinary, error) {
	var group errgroup.Group
	took := table(conns, n)
	began := time.Now()
	for worker := range conns {
		group.Go(func() error {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range n {
				req, err := make(worker, i)
				if err != nil {
					return err
				}
				start := time.Now()
				if err := send(client, req); err != nil {
					return err
				}
				took[worker][i] = ms(time.Since(start))
			}
			return nil
		})
	}
	err := group.Wait()
	out := byOrdinary{rate: float64(conns*n) / time.Since(began).Seconds()}
	for _, one := range took {
		out.took = append(out.took, one...)
	}
	return out, err
}

func table(rows, columns int) [][]float64 {
	all := make([][]float64, rows)
	for i := range all {
		all[i] = make([]float64, columns)
	}
	return all
}

func send(client *http.Client, req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return &statusError{resp.StatusCode, string(body)}
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// ordinaryPrompts prompts sessions at once, n times each.
func ordinaryPrompts(open []acpSession, n int) (byOrdinary, error) {
	return ordinary(len(open), n, func(worker, i int) (*http.Request, error) {
		a := open[worker]
		body := rpc("session/prompt", 2_000_000+i, fmt.Sprintf(`"sessionId":%q,%s`, a.sessionID, promptParams))
		req, err := http.NewRequest(http.MethodPost, "http://"+a.addr+a.url(), bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		return req, nil
	})
}

// otherClients asks for a path by net/http, n times on each connection, and by wrk.
func otherClients(ctx context.Context, addr, path string, conns, n int) (byGo, byWrk float64, err error) {
	if byGo, err = ordinaryGets(addr, path, conns, n); err != nil {
		return 0, 0, err
	}
	byWrk, err = wrk(ctx, addr, path, conns)
	return byGo, byWrk, err
}

// ordinaryGets asks for a path.
func ordinaryGets(addr, path string, conns, n int) (float64, error) {
	by, err := ordinary(conns, n, func(int, int) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
	})
	return by.rate, err
}

// wrk asks for a path for two seconds and returns requests per second.
func wrk(ctx context.Context, addr, path string, conns int) (float64, error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", strconv.Itoa(conns), "-d", "2s", "http://"+addr+path).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk (install it, e.g. apt-get install wrk): %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "Non-2xx") {
			return 0, fmt.Errorf("wrk: %s", strings.TrimSpace(line))
		}
		if rate, ok := strings.CutPrefix(strings.TrimSpace(line), "Requests/sec:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(rate), 64)
		}
	}
	return 0, fmt.Errorf("wrk gives no rate: %s", out)
}

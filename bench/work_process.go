package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	runRounds   = 250 // on each connection
	followMiB   = 64
	terminalMiB = 32
	echoRounds  = 1000
)

var processWork = []work{
	{name: "run", do: measureRun, rows: []row{
		{title: "`run /bin/true`, 4 at once", unit: "1/s", budget: budget{ratio: 2}},
		{title: "of it, processor time of the server", unit: "us", lessBetter: true},
		{title: "of it, processor time of the child", unit: "us", lessBetter: true},
		{title: "of it, times a bare net/http server that does the same", unit: "x", budget: budget{limit: .9}},
		{title: "the same by a net/http client", unit: "1/s"},
		{title: "of it, p99", unit: "ms", lessBetter: true, budget: budget{ratio: 1}},
	}},
	{name: "logs", do: measureLogs, rows: []row{
		{title: "follow of a log, 64 MiB", unit: "MB/s", lossy: true, budget: budget{ratio: 3}},
	}},
	{name: "terminal", do: measureTerminal, rows: []row{
		{title: "terminal throughput, 32 MiB", unit: "MB/s", lossy: true, budget: budget{ratio: 3}},
		{title: "of it, processor time of the server", unit: "us/MiB", lessBetter: true},
		{title: "of it, times a bare reader of a terminal", unit: "x"},
	}},
	{name: "echo", do: measureEcho, rows: []row{
		{title: "terminal echo, p50", unit: "ms", lessBetter: true, budget: budget{ratio: .95}},
		{title: "terminal echo, p99", unit: "ms", lessBetter: true},
	}},
}

func selfCommand(ctx context.Context, self string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, self, args...)
}

func measureRun(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		req := request(srv.addr, "POST", "/v1/processes/run", "application/json", []byte(`{"command":"/bin/true"}`))
		run := func(c *conn, _, _ int) error {
			got, err := c.expect(req, 200)
			if err == nil && !bytes.Contains(got, []byte(`"exitCode":0`)) {
				err = fmt.Errorf("run answered %s", got)
			}
			return err
		}
		rate, each, err := parallelSpent(srv, 4, runRounds, run)
		if err != nil {
			return nil, err
		}
		bare, err := l.bare(ctx, 4, runRounds, run)
		if err != nil {
			return nil, err
		}
		byGo, err := ordinary(4, runRounds, func(int, int) (*http.Request, error) {
			req, err := http.NewRequest(http.MethodPost, "http://"+srv.addr+"/v1/processes/run", strings.NewReader(`{"command":"/bin/true"}`))
			if err == nil {
				req.Header.Set("Content-Type", "application/json")
			}
			return req, err
		})
		return []sample{{value: rate}, {value: each.own}, {value: each.children}, {value: rate / bare}, {value: byGo.rate}, {value: percentile(byGo.took, .99)}}, err
	})
}

// createProcess starts a process and returns its id.
func createProcess(c *conn, srv *server, tty bool, command string, args ...string) (string, error) {
	body, err := json.Marshal(map[string]any{"command": command, "args": args, "tty": tty})
	if err != nil {
		return "", err
	}
	got, err := c.expect(request(srv.addr, "POST", "/v1/processes", "application/json", body), 200)
	if err != nil {
		return "", err
	}
	var info struct{ ID string }
	err = json.Unmarshal(got, &info)
	return info.ID, err
}

// dataMember is where the base64 text of a log entry begins.
var dataMember = []byte(`"data":"`)

// decodedLen returns how many bytes the data of a log entry stands for.
func decodedLen(entry []byte) (int64, error) {
	_, text, ok := bytes.Cut(entry, dataMember)
	if !ok {
		return 0, nil // an event of another kind
	}
	end := bytes.IndexByte(text, '"')
	if end < 0 || end%4 != 0 {
		return 0, fmt.Errorf("log entry with %d characters of base64", end)
	}
	pad := end - len(bytes.TrimRight(text[:end], "="))
	return int64(end/4*3 - pad), nil
}

func measureLogs(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		c, err := dial(srv.addr)
		if err != nil {
			return nil, err
		}
		defer c.close()
		id, err := createProcess(c, srv, false, l.self, "emit", fmt.Sprint(followMiB))
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+srv.addr+"/v1/processes/"+id+"/logs?follow=true", nil)
		if err != nil {
			return nil, err
		}
		resp, err := streamClient().Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return nil, &statusError{status: resp.StatusCode}
		}
		began := time.Now()
		input := []byte(`{"data":"go\n","encoding":"text"}`)
		if _, err := c.expect(request(srv.addr, "POST", "/v1/processes/"+id+"/input", "application/json", input), 200); err != nil {
			return nil, err
		}
		var got int64
		r := &reader{done: make(chan struct{})}
		r.stamped.r = resp.Body
		r.stamped.last.Store(began.UnixNano())
		go func() {
			defer close(r.done)
			r.err = r.count(newReader(&r.stamped), func(data []byte) error {
				n, err := decodedLen(data)
				if got += n; err == nil && got >= followMiB<<20 {
					err = errStop
				}
				return err
			})
		}()
		join([]*reader{r}, cancel)
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			return nil, r.err
		}
		return []sample{{float64(got) / 1e6 / r.at().Sub(began).Seconds(), followMiB<<20 - got}}, nil
	})
}

// terminal opens the terminal of a new process and reads up to the word ready.
// The process is started by a shell that has made the terminal raw, so that
// bytes come as they were written.
func (l *lab) terminal(srv *server, command string) (*socket, error) {
	c, err := dial(srv.addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	id, err := createProcess(c, srv, true, "/bin/sh", "-c", "stty raw -echo; read start; printf ready; "+command)
	if err != nil {
		return nil, err
	}
	ws, err := dialSocket(srv.addr, "/v1/processes/"+id+"/terminal/ws")
	if err != nil {
		return nil, err
	}
	// The shell may not have made the terminal raw when the first line comes, so
	// the line may come back as an echo.
	if err := ws.input("start\\n"); err != nil {
		ws.close()
		return nil, err
	}
	var seen []byte
	for !bytes.HasSuffix(seen, []byte("ready")) {
		kind, data, err := ws.next()
		if err != nil {
			ws.close()
			return nil, fmt.Errorf("await ready after %q: %w", seen, err)
		}
		if kind == frameBinary {
			seen = append(seen, data...)
		}
	}
	return ws, nil
}

func measureTerminal(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		ws, err := l.terminal(srv, fmt.Sprintf("exec '%s' emit %d", l.self, terminalMiB))
		if err != nil {
			return nil, err
		}
		defer ws.close()
		began := time.Now()
		if err := ws.input("go\\n"); err != nil {
			return nil, err
		}
		var got int64
		end := began
		each, err := srv.during(terminalMiB, func() error {
			for got < terminalMiB<<20 {
				kind, data, err := ws.next()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return err
				}
				if err != nil || kind == frameText && bytes.Contains(data, []byte(`"exit"`)) {
					break // what is missing is lost
				}
				if kind == frameBinary {
					got += int64(len(data))
					end = time.Now()
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		rate := float64(got) / 1e6 / end.Sub(began).Seconds()
		bare, err := l.bareTerminal(ctx, terminalMiB)
		return []sample{{rate, terminalMiB<<20 - got}, {value: each.own}, {value: rate / bare}}, err
	})
}

func measureEcho(ctx context.Context, l *lab, s side) ([]sample, error) {
	return l.within(ctx, s, func(srv *server) ([]sample, error) {
		ws, err := l.terminal(srv, "exec cat")
		if err != nil {
			return nil, err
		}
		defer ws.close()
		took := make([]float64, echoRounds)
		for i := range took {
			began := time.Now()
			if err := ws.input("x"); err != nil {
				return nil, err
			}
			for {
				kind, data, err := ws.next()
				if err != nil {
					return nil, err
				}
				if kind == frameBinary && bytes.Contains(data, []byte("x")) {
					break
				}
			}
			took[i] = ms(time.Since(began))
		}
		return []sample{{value: percentile(took, .5)}, {value: percentile(took, .99)}}, nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
)

const (
	sandboxRounds = 20
	sandboxBurst  = 20
)

const makesNone = "makes no sandboxes"

var sandboxWork = []work{
	{name: "sandbox", do: measureSandbox, oursOnly: makesNone, rows: []row{
		{title: "bubblewrap: create to first command, p50", unit: "ms", lessBetter: true, budget: budget{limit: 40}},
		{title: "of it, p99", unit: "ms", lessBetter: true},
		{title: "of it, times a bare `bwrap` with a server", unit: "x", lessBetter: true},
		{title: "bubblewrap: pause, p50", unit: "ms", lessBetter: true},
		{title: "bubblewrap: resume, p50", unit: "ms", lessBetter: true},
		{title: "bubblewrap: destroy, p50", unit: "ms", lessBetter: true},
		{title: "bubblewrap: memory (PSS) of all processes of an idle sandbox", unit: "MiB", lessBetter: true},
		{title: "of it, the shim", unit: "MiB", lessBetter: true},
	}},
	{name: "sandboxes", do: measureBurst, oursOnly: makesNone, rows: []row{
		{title: "bubblewrap: 20 creates to first commands at once", unit: "ms", lessBetter: true},
		{title: "of it, times 20 bare `bwrap` with a server", unit: "x", lessBetter: true, budget: budget{limit: 1.5}},
	}},
}

func (l *lab) sandboxes() (*bubblewrap.Provider, string, error) {
	home, err := l.newHome()
	return bubblewrap.New(bubblewrap.Config{StateDir: home, Binary: l.programs[ours]}), home, err
}

// firstCommand makes a sandbox and runs a command in it.
func firstCommand(ctx context.Context, p *bubblewrap.Provider) (string, error) {
	i, err := p.Create(ctx, provider.Spec{Network: provider.NetworkNone})
	if err != nil {
		return "", err
	}
	result, err := p.Exec(ctx, i.ID, api.ProcessRunRequest{Command: "/bin/true"})
	if err == nil && (result.ExitCode == nil || *result.ExitCode != 0) {
		err = fmt.Errorf("the command ended with %+v", result)
	}
	return i.ID, err
}

// timed returns how long do takes, in milliseconds.
func timed(do func() error) (float64, error) {
	began := time.Now()
	err := do()
	return float64(time.Since(began).Microseconds()) / 1000, err
}

func measureSandbox(ctx context.Context, l *lab, _ side) ([]sample, error) {
	p, home, err := l.sandboxes()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	var create, bare, pause, resume, destroy, memory, ofShim []float64
	for range sandboxRounds {
		var id string
		took, err := timed(func() (err error) { id, err = firstCommand(ctx, p); return err })
		if err != nil {
			return nil, err
		}
		create = append(create, took)
		all, shim, err := sandboxMemory(id)
		if err != nil {
			return nil, err
		}
		memory, ofShim = append(memory, all), append(ofShim, shim)
		for _, step := range []struct {
			do   func(context.Context, string) error
			into *[]float64
		}{{p.Pause, &pause}, {p.Resume, &resume}, {p.Destroy, &destroy}} {
			took, err := timed(func() error { return step.do(ctx, id) })
			if err != nil {
				return nil, err
			}
			*step.into = append(*step.into, took)
		}
		took, err = timed(func() error {
			end, err := l.bareSandbox(ctx)
			if err == nil {
				defer end()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		bare = append(bare, took)
	}
	return []sample{
		{value: median(create)}, {value: percentile(create, .99)}, {value: median(create) / median(bare)},
		{value: median(pause)}, {value: median(resume)}, {value: median(destroy)}, {value: median(memory)}, {value: median(ofShim)},
	}, nil
}

func measureBurst(ctx context.Context, l *lab, _ side) ([]sample, error) {
	p, home, err := l.sandboxes()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	ids := make([]string, sandboxBurst)
	full, err := timed(func() error {
		return atOnce(func(n int) (err error) { ids[n], err = firstCommand(ctx, p); return err })
	})
	for _, id := range ids {
		if id != "" {
			err = errors.Join(err, p.Destroy(ctx, id))
		}
	}
	if err != nil {
		return nil, err
	}
	ends := make([]func(), sandboxBurst)
	bare, err := timed(func() error {
		return atOnce(func(n int) (err error) { ends[n], err = l.bareSandbox(ctx); return err })
	})
	for _, end := range ends {
		if end != nil {
			end()
		}
	}
	return []sample{{value: full}, {value: full / bare}}, err
}

func atOnce(do func(n int) error) error {
	var all sync.WaitGroup
	errs := make([]error, sandboxBurst)
	for n := range sandboxBurst {
		all.Go(func() { errs[n] = do(n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// bareSandbox is the least that runs a command in a sandbox of a server: bwrap by
// itself, with the server in it, which is asked for one run of /bin/true.
func (l *lab) bareSandbox(ctx context.Context) (end func(), err error) {
	home, err := os.MkdirTemp(l.dir, "bare")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bwrap", "--unshare-all", "--die-with-parent", "--as-pid-1", "--ro-bind", "/usr", "/usr",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
		"--bind", home, "/home", "--ro-bind", l.programs[ours], "/server", "--setenv", "HOME", "/home", "--setenv", "XDG_DATA_HOME", "/home",
		"--chdir", "/home", "/server", "server", "--no-token", "--listen", "unix:/home/socket")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(home)
	}
	if err := awaitTrue(ctx, filepath.Join(home, "socket")); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// awaitTrue runs /bin/true on the server at a socket, as soon as it answers.
func awaitTrue(ctx context.Context, socket string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Microsecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/processes/run", strings.NewReader(`{"command":"/bin/true"}`))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil && time.Now().Before(deadline) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && !strings.Contains(string(body), `"exitCode":0`) {
			err = fmt.Errorf("the server answered %s", body)
		}
		return err
	}
}

// sandboxMemory returns what a sandbox takes of memory, in MiB: its shim, and all
// that the shim has started.
func sandboxMemory(id string) (all, shim float64, err error) {
	parents, shimPID := make(map[int]int), 0
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(name, "stat"))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if parents[pid], err = strconv.Atoi(fields[1]); err != nil {
			return 0, 0, err
		}
		if cmdline, err := os.ReadFile(filepath.Join(name, "cmdline")); err == nil && strings.HasSuffix(string(cmdline), "/"+id+"\x00") {
			shimPID = pid
		}
	}
	for pid := range parents {
		above := pid
		for above != shimPID && above != 0 {
			above = parents[above]
		}
		if above != shimPID {
			continue
		}
		size, err := pss(pid)
		if err != nil {
			return 0, 0, err
		}
		if all += size; pid == shimPID {
			shim = size
		}
	}
	return all, shim, nil
}

// pss returns the memory of a process in MiB, of what it shares its share.
func pss(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no Pss", pid)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peerVersion is the release of the earlier server that we compare with.
const peerVersion = "0.4.2"

// side is who does the work.
type side int

// The peer is measured with its log of requests switched off, against which we compare,
// and as it comes, with the log on.
const (
	ours side = iota
	theirs
	logging
	sides
)

func (s side) String() string { return [...]string{"ours", "peer", "peer with its log"}[s] }

// sample is one number that one side reached once. Lost is how much of what was
// to be delivered did not come: frames or bytes, as the row says.
type sample struct {
	value float64
	lost  int64
}

// row is a line of the report. A work gives one sample for each of its rows.
type row struct {
	title      string
	unit       string
	lessBetter bool
	lossy      bool // counts what is lost, which has to be nothing
	budget     budget
}

// work is something that each side does, from a fresh start with an empty data
// folder, as often as there are rounds.
type work struct {
	name     string
	rows     []row
	oursOnly string // why the peer does not do it; empty if it does
	do       func(context.Context, *lab, side) ([]sample, error)
}

// result is what came of a work.
type result struct {
	work    work
	samples [sides][][]float64 // by side, row and round
	lost    [sides][]int64     // by side and row, over all rounds
	errs    [sides]error       // why a side has no samples
	foreign float64            // cores that others used meanwhile
}

// lab has the two servers, and a folder for everything they write.
type lab struct {
	dir      string
	self     string
	programs [sides]string
	loadAvg  string
	started  time.Time
	runs     int
}

// openLab finds or makes both servers, or ours alone. The caller closes it.
func openLab(ctx context.Context, o options, alone bool) (*lab, error) {
	l := &lab{started: time.Now(), loadAvg: loadAverage()}
	var err error
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.programs[ours], err = findOurs(ctx, o.ours); err != nil {
		return nil, err
	}
	if !alone {
		if l.programs[theirs], err = findPeer(ctx, o.peer); err != nil {
			return nil, err
		}
	}
	l.programs[logging] = l.programs[theirs]
	l.dir, err = os.MkdirTemp("", "bench")
	return l, err
}

func (l *lab) close() { os.RemoveAll(l.dir) }

func findOurs(ctx context.Context, path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	path, err := filepath.Abs(filepath.Join("bin", "sandbox-agent"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "building this server")
	cmd := exec.CommandContext(ctx, "make", "build")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build this server (run from the root of the module): %w", err)
	}
	return path, nil
}

// findPeer installs the peer into the user's cache folder, once.
func findPeer(ctx context.Context, path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	dir := filepath.Join(cache, "sandbox-agent-bench", peerVersion)
	path = filepath.Join(dir, "node_modules", "@sandbox-agent", "cli-"+runtime.GOOS+"-"+arch, "bin", "sandbox-agent")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "installing the peer into", dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "@sandbox-agent/cli@"+peerVersion)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("install the peer with npm: %w", err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return "", fmt.Errorf("find the peer's binary: %w", err)
	}
	return path, nil
}

// measure lets both sides do a work in turns.
func (l *lab) measure(ctx context.Context, w work, rounds int) result {
	res := result{work: w}
	for s := range res.samples {
		res.samples[s], res.lost[s] = make([][]float64, len(w.rows)), make([]int64, len(w.rows))
	}
	if w.oursOnly != "" {
		res.errs[theirs], res.errs[logging] = errors.New(w.oursOnly), errors.New(w.oursOnly)
	}
	before, began := usage(), time.Now()
	for round := range rounds {
		for s := range sides {
			if res.errs[s] != nil || ctx.Err() != nil {
				continue
			}
			samples, err := w.do(ctx, l, s)
			if err != nil {
				res.errs[s] = err
				fmt.Fprintf(os.Stderr, "%s: %s, round %d: %v\n", w.name, s, round+1, err)
				continue
			}
			for i, one := range samples {
				res.samples[s][i] = append(res.samples[s][i], one.value)
				res.lost[s][i] += one.lost
			}
		}
	}
	res.foreign = usage().foreignSince(before, time.Since(began))
	return res
}

// server is a started server with a home and a data folder of its own.
type server struct {
	cmd  *exec.Cmd
	addr string
	home string
	done chan struct{}
}

// newHome makes the folder of a server, with the agent installed.
func (l *lab) newHome() (string, error) {
	l.runs++
	home := filepath.Join(l.dir, fmt.Sprint(l.runs))
	launchers := filepath.Join(home, "sandbox-agent", "bin", "agent_processes")
	if err := os.MkdirAll(launchers, 0o755); err != nil {
		return "", err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' agent\n", l.self)
	return home, os.WriteFile(filepath.Join(launchers, "mock-acp"), []byte(script), 0o755)
}

// start starts a server in a new home and returns when it is healthy.
func (l *lab) start(ctx context.Context, s side) (*server, error) {
	home, err := l.newHome()
	if err != nil {
		return nil, err
	}
	return l.startIn(ctx, s, home)
}

func (l *lab) startIn(ctx context.Context, s side, home string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	srv := &server{home: home, addr: fmt.Sprintf("127.0.0.1:%d", port), done: make(chan struct{})}
	srv.cmd = exec.CommandContext(ctx, l.programs[s], "server", "--no-token", "--no-telemetry", "--host", "127.0.0.1", "--port", fmt.Sprint(port))
	srv.cmd.Dir = home
	srv.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_DATA_HOME=" + home, "TMPDIR=" + home, "SANDBOX_AGENT_LOG_STDOUT=1"}
	if s == theirs {
		srv.cmd.Env = append(srv.cmd.Env, "RUST_LOG=warn")
	}
	srv.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	srv.cmd.Cancel = func() error { return srv.cmd.Process.Signal(syscall.SIGTERM) }
	srv.cmd.WaitDelay = 5 * time.Second
	if err := srv.cmd.Start(); err != nil { // its output goes to the null device
		return nil, err
	}
	go func() {
		defer close(srv.done)
		_ = srv.cmd.Wait()
	}()
	if err := srv.awaitHealth(); err != nil {
		srv.stop()
		return nil, err
	}
	return srv, nil
}

// awaitHealth asks until the server is healthy. It asks often, since this is
// what is measured.
func (s *server) awaitHealth() error {
	req := request(s.addr, "GET", "/v1/health", "", nil)
	deadline := time.Now().Add(patience)
	for {
		select {
		case <-s.done:
			return errors.New("server ended before it was healthy")
		default:
		}
		c, err := dial(s.addr)
		if err == nil {
			_, err = c.expect(req, 200)
			c.close()
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("server is not healthy: %w", err)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// stop ends the server and whatever it has left in its process group.
func (s *server) stop() {
	pid := s.cmd.Process.Pid
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-s.done
}

// leave ends the server and removes its home.
func (s *server) leave() {
	s.stop()
	os.RemoveAll(s.home)
}

// pids are the processes of the server itself: the one that was started, and the one
// that it started of the same program, if it did.
func (s *server) pids() []int {
	pids := []int{s.cmd.Process.Pid}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	if err != nil {
		return pids
	}
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pids[0]))
	if err != nil {
		return pids
	}
	for _, field := range strings.Fields(string(data)) {
		exe, err := os.Readlink("/proc/" + field + "/exe")
		pid, atoiErr := strconv.Atoi(field)
		if err == nil && atoiErr == nil && exe == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// spent is the processor time, in microseconds, that a part of some work took:
// of the server itself, and of the children that it waited for. Unlike the time
// that passes, it hardly depends on what else the machine does.
type spent struct{ own, children float64 }

// during does some work of n parts and returns what each of them took.
func (s *server) during(n int, work func() error) (spent, error) {
	own, children, err := cpuOf(s.pids())
	if err != nil {
		return spent{}, err
	}
	if err := work(); err != nil {
		return spent{}, err
	}
	ownAfter, childrenAfter, err := cpuOf(s.pids())
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
	return spent{each(ownAfter - own), each(childrenAfter - children)}, err
}

// within starts a server, lets f work with it, and ends it.
func (l *lab) within(ctx context.Context, s side, f func(*server) ([]sample, error)) ([]sample, error) {
	srv, err := l.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer srv.leave()
	samples, err := f(srv)
	return samples, cmp.Or(ctx.Err(), err)
}

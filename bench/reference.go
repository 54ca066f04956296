package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// runReference is the least that a server can do which keeps the promises of ours:
// it replaces files in one step, runs programs in sessions of their own, and keeps frames
// before it shows them. It says where it listens, and ends with its input.
func runReference(in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, listener.Addr())
	mux := http.NewServeMux()
	for pattern, do := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/health": sayHealthy, "GET /v1/fs/file": sendFile, "PUT /v1/fs/file": takeFile, "POST /v1/processes/run": runProgram,
		"POST /v1/acp/{id}": new(relay).post,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	go http.Serve(listener, mux)
	_, err = io.Copy(io.Discard, in)
	return err
}

func sayHealthy(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"status":"ok"}`)
	return err
}

func sendFile(w http.ResponseWriter, r *http.Request) error {
	f, err := os.Open(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

func takeFile(_ http.ResponseWriter, r *http.Request) error {
	path := r.URL.Query().Get("path")
	temp := fmt.Sprintf("%s.%x", path, rand.Uint64())
	create := func() (*os.File, error) { return os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) }
	f, err := create()
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err = create()
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func runProgram(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	cmd := exec.CommandContext(r.Context(), "/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	_, err := cmd.Output()
	if err == nil {
		_, err = io.WriteString(w, `{"exitCode":0}`)
	}
	return err
}

// reference is a running [runReference].
type reference struct {
	addr string
	stop func()
}

func (l *lab) startReference(ctx context.Context) (*reference, error) {
	cmd := selfCommand(ctx, l.self, "reference")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ref := &reference{stop: func() { stdin.Close(); _ = cmd.Wait() }}
	if _, err := fmt.Fscanln(stdout, &ref.addr); err != nil {
		ref.stop()
		return nil, fmt.Errorf("start reference: %w", err)
	}
	ref.addr = strings.TrimSpace(ref.addr)
	return ref, nil
}

// bare is parallel for the reference.
func (l *lab) bare(ctx context.Context, conns, times int, do func(c *conn, worker, i int) error) (float64, error) {
	ref, err := l.startReference(ctx)
	if err != nil {
		return 0, err
	}
	defer ref.stop()
	return parallel(ref.addr, conns, times, do)
}

// bareTerminal reads so many MiB from a terminal that nothing else is done with,
// and returns MB/s.
func (l *lab) bareTerminal(ctx context.Context, size int) (float64, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	defer slave.Close()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		return 0, err
	}
	cmd := selfCommand(ctx, l.self, "emit", fmt.Sprint(size))
	cmd.Stdin, cmd.Stdout = slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = master.WriteString("go\n")
	if err == nil {
		_, err = io.CopyN(struct{ io.Writer }{io.Discard}, master, int64(size)<<20)
	}
	took := time.Since(began)
	return float64(size<<20) / 1e6 / took.Seconds(), errors.Join(err, cmd.Wait())
}

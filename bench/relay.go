package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// relay is the least that a server can do that keeps the promise of ours for a prompt:
// what passes is in a file before anybody sees it. It knows no sessions, has no readers,
// and one frame is under way at a time.
type relay struct {
	mu     sync.Mutex
	agents map[string]*relayAgent
}

type relayAgent struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
	log *os.File
}

// post writes a frame to the log and to the agent, and its answer to the log and to the
// client.
func (r *relay) post(w http.ResponseWriter, req *http.Request) error {
	frame, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	a, err := r.agent(req.PathValue("id"))
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	frame = append(frame, '\n')
	if _, err := a.log.Write(frame); err != nil {
		return err
	}
	if _, err := a.in.Write(frame); err != nil {
		return err
	}
	answer, err := a.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	if _, err := a.log.Write(answer); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(answer[:len(answer)-1])
	return err
}

func (r *relay) agent(id string) (*relayAgent, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.agents[id]; a != nil {
		return a, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "relay")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(log.Name()); err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "agent")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil { // it ends with its input, which ends with us
		return nil, err
	}
	a := &relayAgent{in: in, out: bufio.NewReaderSize(out, 64<<10), log: log}
	if r.agents == nil {
		r.agents = make(map[string]*relayAgent)
	}
	r.agents[id] = a
	return a, nil
}

// bareRoundTrips is roundTrips for the relay.
func (l *lab) bareRoundTrips(ctx context.Context, n int) ([]float64, error) {
	ref, err := l.startReference(ctx)
	if err != nil {
		return nil, err
	}
	defer ref.stop()
	c, a, err := connect(ref.addr, "bench")
	if err != nil {
		return nil, fmt.Errorf("bare relay: %w", err)
	}
	defer c.close()
	return roundTrips(c, a, 2, n)
}

// bareSessions returns how many prompts per second the relay takes in several sessions.
func (l *lab) bareSessions(ctx context.Context, sessions, n int) (float64, error) {
	ref, err := l.startReference(ctx)
	if err != nil {
		return 0, err
	}
	defer ref.stop()
	conns, open, err := openSessions(ref.addr, sessions)
	defer closeAll(conns)
	if err != nil {
		return 0, fmt.Errorf("bare relay: %w", err)
	}
	began := time.Now()
	err = promptSessions(open, conns, n)
	return float64(sessions*n) / time.Since(began).Seconds(), err
}

package shim

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/provider"
)

// The descriptors that a shim starts with.
const (
	LockFD   = 3 // the lock of its directory, which it shares with its creator and then holds alone
	LifeFD   = 4 // a pipe that ends with the creator
	ReportFD = 5 // a pipe for a [Report] in each line
	UserFD   = 6 // a pipe with the [User] as JSON
)

// A User is who a sandbox belongs to, as the process that starts its shim is. It goes
// to the shim by a pipe: it has keys, which must not be seen in the environment of
// a process.
type User struct {
	Env []string `json:"env"`
}

// user returns the user of this process.
func (s *Store) user() User {
	if s.cfg.Env != nil {
		return User{s.cfg.Env}
	}
	return User{os.Environ()}
}

// shimVariables are those that a shim itself needs: to find programs, temporary
// directories, and the certificates of upstreams.
var shimVariables = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GORACE", "GOCOVERDIR", "GODEBUG",
}

// shimEnv returns the environment that a shim starts with.
func shimEnv(env []string) []string {
	kept := []string{}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(shimVariables, name) {
			kept = append(kept, kv)
		}
	}
	return kept
}

// sendUser writes the user into a pipe, however much it takes, and closes that. A
// shim that has ended needs none.
func sendUser(pipe *os.File, user User) {
	defer pipe.Close()
	_ = json.NewEncoder(pipe).Encode(user)
}

// A Report is what a shim tells the process that started it. The last one has an
// Error or says that the sandbox is running.
type Report struct {
	Error     *api.Error             `json:"error,omitempty"`
	Running   bool                   `json:"running,omitempty"`
	Bootstrap []api.ProcessRunResult `json:"bootstrap,omitempty"`
	Warnings  []string               `json:"warnings,omitempty"`
}

// Create makes a sandbox and returns when it is running. The bound sandbox of a
// spec lives as long as this process does.
func (s *Store) Create(ctx context.Context, spec provider.Spec) (*provider.Instance, error) {
	spec, err := spec.Check()
	if err != nil {
		return nil, err
	}
	record := Record{ID: newID(), Provider: s.provider, CreatedAt: time.Now().UTC(), Spec: spec, Store: s.cfg.Store}
	dir := Dir(filepath.Join(s.root(), record.ID))
	report, err := s.create(ctx, dir, record)
	if err != nil {
		return nil, errors.Join(err, Discard(dir))
	}
	i, err := s.Get(ctx, record.ID)
	if err != nil {
		return nil, err
	}
	i.Bootstrap, i.Warnings = report.Bootstrap, report.Warnings
	return i, nil
}

func (s *Store) create(ctx context.Context, dir Dir, record Record) (Report, error) {
	if err := os.MkdirAll(s.root(), 0o700); err != nil {
		return Report{}, fmt.Errorf("create sandbox: %w", err)
	}
	if err := os.Mkdir(string(dir), 0o700); err != nil {
		return Report{}, fmt.Errorf("create sandbox: %w", err)
	}
	lock, err := filelock.Try(dir.Lock())
	if err != nil {
		return Report{}, fmt.Errorf("create sandbox: %w", err)
	}
	defer lock.Release()
	var token [24]byte
	rand.Read(token[:])
	if err := os.WriteFile(dir.Token(), []byte(hex.EncodeToString(token[:])), 0o600); err != nil {
		return Report{}, fmt.Errorf("create sandbox: %w", err)
	}
	if err := writeJSON(dir.SpecFile(), record, false); err != nil {
		return Report{}, fmt.Errorf("create sandbox: %w", err)
	}
	if s.cfg.Prepare != nil {
		if err := s.cfg.Prepare(ctx, dir, record); err != nil {
			return Report{}, err
		}
	}
	return s.startShim(ctx, dir, lock, record.Spec.Bound)
}

// startShim starts a shim, hands the lock on to it, and waits until the sandbox
// runs. If ctx ends first, the shim ends with what it made.
func (s *Store) startShim(ctx context.Context, dir Dir, lock *filelock.Lock, bound bool) (Report, error) {
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return Report{}, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	lifeTheirs, life, err := os.Pipe()
	if err != nil {
		return Report{}, err
	}
	defer lifeTheirs.Close()
	reports, reportsTheirs, err := os.Pipe()
	if err != nil {
		return Report{}, errors.Join(err, life.Close())
	}
	defer reports.Close()
	userTheirs, user, err := os.Pipe()
	if err != nil {
		return Report{}, errors.Join(err, life.Close(), reportsTheirs.Close())
	}
	shim, err := child.StartDetached(child.Spec{
		Path: s.cfg.Binary, Args: []string{"shim", string(dir)}, Dir: "/", Env: shimEnv(s.user().Env),
		Files: []*os.File{lock.File(), lifeTheirs, reportsTheirs, userTheirs},
	}, log)
	reportsTheirs.Close()
	userTheirs.Close()
	if err != nil {
		return Report{}, errors.Join(fmt.Errorf("start shim: %w", err), life.Close(), user.Close())
	}
	go sendUser(user, s.user())
	// The shim ends when the pipe does, as long as the sandbox is not running.
	stop := context.AfterFunc(ctx, func() { life.Close() })
	report, err := readReport(reports)
	stop()
	if err == nil && bound {
		err = s.hold(dir.ID(), life)
	}
	life.Close()
	if err == nil {
		return report, nil
	}
	<-shim.Done() // so that its directory can be removed
	if ctx.Err() != nil {
		return Report{}, fmt.Errorf("start sandbox: %w", context.Cause(ctx))
	}
	var problem *api.Error
	if errors.As(err, &problem) {
		return Report{}, err
	}
	return Report{}, fmt.Errorf("start sandbox: the shim ended (%v)%s", shim, lastLines(dir.Log()))
}

// hold keeps the pipe that a bound sandbox lives by open until this process ends,
// or destroys the sandbox. The descriptor is a bare one, which nothing closes when
// the store is dropped.
func (s *Store) hold(id string, life *os.File) error {
	fd, err := unix.FcntlInt(life.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fmt.Errorf("bind sandbox to this process: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == nil {
		s.bound = make(map[string]int)
	}
	s.bound[id] = fd
	return nil
}

func (s *Store) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.bound[id]; ok {
		unix.Close(fd)
		delete(s.bound, id)
	}
}

// readReport returns the last report of a shim.
func readReport(r io.Reader) (Report, error) {
	lines := bufio.NewReader(r)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return Report{}, err
	}
	var report Report
	if err := json.Unmarshal(line, &report); err != nil {
		return Report{}, err
	}
	if report.Error != nil {
		return Report{}, report.Error
	}
	return report, nil
}

// lastLines quotes the end of a log.
func lastLines(name string) string {
	data, err := os.ReadFile(name)
	text := strings.TrimSpace(string(data))
	if err != nil || text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; its last output: " + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

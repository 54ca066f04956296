// Package shim keeps the sandboxes of this host: one directory for each, and one
// process, the shim, that owns what runs in it. The package reads the directories
// and talks to the shims; what a shim does is in package run, which only the
// program sandbox-agent links.
//
// The directories are the one truth about which sandboxes exist. Below
// [Config.StateDir] a sandbox has the directory sandboxes/<id>, which only its
// owner can enter:
//
//	lock         held by the shim while it lives
//	spec.json    what was asked for, written once by the creator
//	status.json  what the sandbox does, written by the shim alone
//	token        of the server
//	log, log.1   output of the shim and the server
//	control      socket of the shim
//	server       socket of the server, where it has one
//	home, workspace, tmp, etc    what the sandbox keeps and sees
//	base         what the workspace is compared with, see package workspace
//
// A shim is started by the creator and depends on it only until the sandbox runs.
// Any other process may end at any time. If a shim itself is killed, the kernel
// ends what ran in its sandbox, and the next reader of the directory sees that
// nobody holds the lock.
package shim

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/provider"
)

// LocalJournal is the name of the journal in the directory of a sandbox of the provider
// local, whose server has its data elsewhere.
const LocalJournal = "journal.db"

// Config says where sandboxes are kept and what runs them.
type Config struct {
	// StateDir is the absolute path of the directory that holds all sandboxes.
	StateDir string

	// Binary is the sandbox-agent program, which is the shim and the server.
	Binary string

	// Store is the directory with the agents that sandboxes see, or empty.
	Store string

	// Env is the environment of the user, from which what runs without isolation
	// has its own, and in which model keys are looked for; nil means that of this
	// process.
	Env []string

	// Prepare, if not nil, is called with the directory of a new sandbox before its
	// shim is started. If it fails, so does the creation.
	Prepare func(ctx context.Context, dir Dir, record Record) error
}

// Record is what was asked for. It does not change.
type Record struct {
	ID        string        `json:"id"`
	Provider  string        `json:"provider"`
	CreatedAt time.Time     `json:"createdAt"`
	Spec      provider.Spec `json:"spec"`
	Store     string        `json:"store,omitempty"` // agents of the host
}

// Status is what a sandbox does, as its shim wrote it last.
type Status struct {
	State        provider.State        `json:"state"`
	Reason       string                `json:"reason,omitempty"`
	Born         bool                  `json:"born"` // it has been running
	ShimPID      int                   `json:"shimPid"`
	Network      string                `json:"network,omitempty"` // address of the server: unix or tcp
	Address      string                `json:"address,omitempty"`
	WorkDir      string                `json:"workDir,omitempty"`
	Capabilities provider.Capabilities `json:"capabilities"`
	Cgroups      []string              `json:"cgroups,omitempty"` // directories that hold its processes
	Server       Process               `json:"server"`
	Placeholder  string                `json:"placeholder,omitempty"` // an empty .git in a bound workspace
	Marker       string                `json:"marker,omitempty"`      // in the environment of what runs without namespaces
	Models       []string              `json:"models,omitempty"`      // see [provider.Instance]
}

// A Process is one that its number alone does not name for ever.
type Process struct {
	PID   int    `json:"pid,omitempty"`
	Start string `json:"start,omitempty"` // when it started, in words of the system
}

// A Dir is the directory of one sandbox.
type Dir string

// Lock returns the file that the shim locks.
func (d Dir) Lock() string { return filepath.Join(string(d), "lock") }

// SpecFile returns the file with the [Record].
func (d Dir) SpecFile() string { return filepath.Join(string(d), "spec.json") }

// Status returns the file with the [Status].
func (d Dir) Status() string { return filepath.Join(string(d), "status.json") }

// Token returns the file with the token of the server.
func (d Dir) Token() string { return filepath.Join(string(d), "token") }

// Log returns the file with the newest output. The older part has ".1" at its end.
func (d Dir) Log() string { return filepath.Join(string(d), "log") }

// Control returns the socket of the shim.
func (d Dir) Control() string { return filepath.Join(string(d), "control") }

// Workspace returns the workspace of a sandbox that has one of its own.
func (d Dir) Workspace() string { return filepath.Join(string(d), "workspace") }

// Server returns the socket of the server, where it has one.
func (d Dir) Server() string { return filepath.Join(string(d), "server") }

// ID returns the id of the sandbox.
func (d Dir) ID() string { return filepath.Base(string(d)) }

// ReadRecord returns what was asked for.
func (d Dir) ReadRecord() (Record, error) { return readJSON[Record](d.SpecFile()) }

// ReadStatus returns what the shim wrote last.
func (d Dir) ReadStatus() (Status, error) { return readJSON[Status](d.Status()) }

// WriteStatus is for the shim, and for a process that holds the lock of a dead
// one.
func (d Dir) WriteStatus(status Status) error { return writeJSON(d.Status(), status, true) }

// NoteStatus is WriteStatus that does not wait for the disk: for what is not true any
// more after the machine itself has stopped.
func (d Dir) NoteStatus(status Status) error { return writeJSON(d.Status(), status, false) }

// Sync returns when what the creator has written is on the disk.
func (d Dir) Sync() error {
	for _, name := range []string{d.SpecFile(), d.Token(), string(d), filepath.Dir(string(d))} {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		err = file.Sync()
		file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadToken returns the token of the server.
func (d Dir) ReadToken() (string, error) {
	data, err := os.ReadFile(d.Token())
	return string(data), err
}

func readJSON[T any](name string) (v T, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", name, err)
	}
	return v, nil
}

func writeJSON(name string, v any, sync bool) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(name, data, atomicfile.Options{NoSync: !sync})
}

// A Store holds the sandboxes of one provider.
type Store struct {
	cfg      Config
	provider string

	mu    sync.Mutex
	bound map[string]int // descriptors that bound sandboxes live by
}

// Open returns the sandboxes that the provider keeps below cfg.StateDir. It does
// no I/O.
func Open(cfg Config, provider string) *Store { return &Store{cfg: cfg, provider: provider} }

func (s *Store) root() string { return filepath.Join(s.cfg.StateDir, "sandboxes") }

var idForm = regexp.MustCompile(`^[a-z0-9]{4,32}$`)

// newID returns an id that is short enough to type and that nobody guesses into
// being taken.
func newID() string { return strings.ToLower(rand.Text()[:10]) }

// Find returns the directory of a sandbox of this provider, and what was asked for.
func (s *Store) Find(id string) (Dir, Record, error) {
	missing := api.NotFound("sandbox", id)
	if !idForm.MatchString(id) {
		return "", Record{}, missing
	}
	dir := Dir(filepath.Join(s.root(), id))
	record, err := dir.ReadRecord()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Record{}, missing
	case err != nil:
		return "", Record{}, fmt.Errorf("get sandbox %s: %w", id, err)
	case s.provider != "" && record.Provider != s.provider:
		return "", Record{}, missing
	}
	return dir, record, nil
}

// Get returns a sandbox as it is now. A creation that its creator did not live to
// see through is not found.
func (s *Store) Get(_ context.Context, id string) (*provider.Instance, error) {
	dir, record, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	return s.instance(dir, record)
}

func (s *Store) instance(dir Dir, record Record) (*provider.Instance, error) {
	held := filelock.Held(dir.Lock()) // before the status, which a shim writes while it holds the lock
	status, err := dir.ReadStatus()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("get sandbox %s: %w", record.ID, err)
	}
	if !held {
		if !status.Born {
			return nil, api.NotFound("sandbox", record.ID)
		}
		status = withoutShim(status)
	}
	token, err := dir.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("get sandbox %s: %w", record.ID, err)
	}
	i := &provider.Instance{
		ID: record.ID, Provider: record.Provider, CreatedAt: record.CreatedAt, Spec: record.Spec,
		State: cmp.Or(status.State, provider.Creating), Reason: status.Reason,
		Token: provider.Secret(token), WorkDir: status.WorkDir, Capabilities: status.Capabilities,
		Models: status.Models,
		Dialer: func(ctx context.Context) (net.Conn, error) { return Dial(ctx, status.Network, status.Address) },
	}
	if status.Network == "tcp" {
		i.URL = "http://" + status.Address
	}
	return i, nil
}

// withoutShim corrects the status that a shim left which is not there any more.
func withoutShim(status Status) Status {
	if status.State != provider.Stopped && status.State != provider.Failed {
		status.Reason = fmt.Sprintf("its shim, process %d, was killed, and what ran in the sandbox ended with it", status.ShimPID)
		status.State = provider.Failed
		if len(status.Models) > 0 {
			status.Reason += "; its model keys, which only the shim had, are gone: restart takes those of the user who restarts it"
		}
		status.Models = nil
	}
	return status
}

// List yields the sandboxes that carry all the labels, oldest first.
func (s *Store) List(_ context.Context, labels map[string]string) iter.Seq2[*provider.Instance, error] {
	return func(yield func(*provider.Instance, error) bool) {
		dirs, err := s.dirs()
		if err != nil {
			yield(nil, err)
			return
		}
		type found struct {
			dir    Dir
			record Record
		}
		var all []found
		for _, dir := range dirs {
			_, record, err := s.Find(dir.ID())
			switch {
			case errors.Is(err, api.CodeSandboxNotFound):
			case err != nil:
				if !yield(nil, err) {
					return
				}
			case carries(record.Spec.Labels, labels):
				all = append(all, found{dir, record})
			}
		}
		slices.SortStableFunc(all, func(a, b found) int { return a.record.CreatedAt.Compare(b.record.CreatedAt) })
		for _, f := range all {
			i, err := s.instance(f.dir, f.record)
			if errors.Is(err, api.CodeSandboxNotFound) {
				continue
			}
			if !yield(i, err) {
				return
			}
		}
	}
}

func carries(have, want map[string]string) bool {
	for key := range maps.Keys(want) {
		if value, ok := have[key]; !ok || value != want[key] {
			return false
		}
	}
	return true
}

// dirs returns what looks like the directory of a sandbox, of whatever provider.
func (s *Store) dirs() ([]Dir, error) {
	entries, err := os.ReadDir(s.root())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var dirs []Dir
	for _, entry := range entries {
		if entry.IsDir() && idForm.MatchString(entry.Name()) {
			dirs = append(dirs, Dir(filepath.Join(s.root(), entry.Name())))
		}
	}
	return dirs, nil
}

// Logs returns the newest output of the shim and the server.
func (s *Store) Logs(_ context.Context, id string) ([]byte, error) {
	dir, _, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	older, err := os.ReadFile(dir.Log() + ".1")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read log: %w", err)
	}
	newer, err := os.ReadFile(dir.Log())
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return append(older, newer...), nil
}

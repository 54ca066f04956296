package session

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// session is one conversation.
type session struct {
	m      *Manager
	id     string
	events string // name of their stream

	opening chan struct{} // holds a token while the agent is started, set or stopped
	saving  sync.Mutex    // held while the record is written

	mu       sync.Mutex
	rec      record
	link     *link // connection on which an agent has the session open; nil when none has
	asks     asks  // what the agent was last started to ask about
	starting bool
	failed   bool
	stopping string        // why the agent is being stopped, if it is
	replay   *link         // connection on which an agent tells its history again
	late     chan struct{} // closed with the end of a history that is told after the answer; nil when none is
	running  int           // prompts that the agent works on
	quiet    chan struct{}
	turn     *turn
	queue    []*turn
	working  bool // a goroutine works on turn and queue
	calls    map[string]acp.ToolCall
	pending  map[string]*permissionRequest
	resolved []api.PermissionResolved // the newest ones
	clients  map[string]api.SessionClient
	used     time.Time // when it was last used
	purged   bool
	asking   int  // requests of clients for a setting that the agent has not answered
	outdated bool // the derived part of the record is of other code: see Manager.current
}

func newSession(m *Manager, rec record) *session {
	rec.Version = cmp.Or(rec.Version, recordVersion)
	s := &session{
		m: m, id: rec.ID, rec: rec,
		opening: make(chan struct{}, 1),
		calls:   make(map[string]acp.ToolCall),
		pending: make(map[string]*permissionRequest),
		clients: make(map[string]api.SessionClient),
		used:    time.Now(),
	}
	s.events = s.where(streamPrefix) + s.id
	return s
}

// ownPrefix starts the ids of connections that sessions have for themselves.
const ownPrefix = "session-"

// server is the id of the connection that a session has for itself.
func (s *session) server() string { return ownPrefix + s.id }

// owned reports whether the session is open on a connection of its own, so
// that its agent can be stopped without harm to others. The caller holds mu.
func (s *session) owned() bool { return s.link != nil && s.link.id == s.server() }

// status is what clients see. The caller holds mu.
func (s *session) status() string {
	switch {
	case s.rec.DestroyedAt != 0:
		return api.SessionDestroyed
	case s.starting:
		return api.SessionStarting
	case s.link != nil && len(s.pending) > 0:
		return api.SessionWaiting
	case s.busy():
		return api.SessionRunning
	case s.link != nil:
		return api.SessionIdle
	case s.failed:
		return api.SessionFailed
	}
	return api.SessionStopped
}

// busy reports whether a prompt would have to wait. The caller holds mu.
func (s *session) busy() bool { return s.running > 0 || s.turn != nil || len(s.queue) > 0 }

// describe returns the session as clients see it.
func (s *session) describe() api.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.rec
	last := r.Last
	if shown, ok := s.m.cfg.Journal.Shown(s.stream()); ok {
		last = min(last, shown) // a killed server would give the others again
	}
	out := api.Session{
		ID: r.ID, Ephemeral: r.Ephemeral || s.m.cfg.Volatile, Agent: r.Agent, AgentSessionID: r.AgentSessionID, LastConnectionID: r.Server,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Title: r.title(), CWD: r.CWD, Status: s.status(), Reason: r.Reason,
		Model: r.model(), Mode: r.mode(), ThoughtLevel: r.option(acp.CategoryThoughtLevel),
		ConfigOptions: slices.Clone(r.Options), Modes: r.modes(),
		Usage: r.Usage, PendingPermissions: len(s.pending), LastEvent: last,
		Queued: len(s.queue), Restored: r.Restored, Permissions: r.Policy, Metadata: maps.Clone(r.Metadata),
	}
	if r.DestroyedAt != 0 {
		at := r.DestroyedAt
		out.DestroyedAt = &at
	}
	if s.turn != nil {
		out.Turn = s.turn.id
	}
	for _, id := range slices.Sorted(maps.Keys(s.clients)) {
		out.Clients = append(out.Clients, s.clients[id])
	}
	slices.SortStableFunc(out.Clients, func(a, b api.SessionClient) int { return int(a.Since - b.Since) })
	return out
}

func (r *record) title() string {
	line, _, _ := strings.Cut(r.First, "\n")
	return cmp.Or(r.Title, r.AgentTitle, clip(line, 80))
}

func (r *record) option(category string) string {
	if o := acp.OptionOfCategory(r.Options, category); o != nil {
		return o.CurrentValue
	}
	return ""
}

func (r *record) model() string {
	if v := r.option(acp.CategoryModel); v != "" || r.Models == nil {
		return v
	}
	return r.Models.CurrentModelID
}

func (r *record) mode() string {
	if r.Modes != nil && r.Modes.CurrentModeID != "" {
		return r.Modes.CurrentModeID
	}
	return r.option(acp.CategoryMode)
}

// modes returns the modes of an agent, or those its mode option offers.
func (r *record) modes() *acp.SessionModes {
	if r.Modes != nil {
		modes := *r.Modes
		return &modes
	}
	o := acp.OptionOfCategory(r.Options, acp.CategoryMode)
	if o == nil {
		return nil
	}
	modes := &acp.SessionModes{CurrentModeID: o.CurrentValue}
	for _, v := range o.Values() {
		modes.AvailableModes = append(modes.AvailableModes, acp.Mode{ID: v.Value, Name: v.Name, Description: v.Description})
	}
	return modes
}

// clip cuts text to at most n bytes at a rune.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// append adds an event. It returns 0 when the journal is closed.
func (s *session) append(dir journal.Direction, frame []byte) uint64 {
	seq, err := s.m.cfg.Journal.Append(s.stream(), dir, frame)
	if err != nil {
		s.m.log.Warn("journal session event", "session", s.id, "error", err)
		return 0
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec.Last = max(s.rec.Last, seq)
	s.rec.UpdatedAt, s.used = now.UnixMilli(), now
	return seq
}

// newest names the newest event in the journal.
func (s *session) newest() (name string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream(), s.rec.Last
}

// notify adds an event of our own.
func (s *session) notify(method string, params any) uint64 {
	frame, err := acp.RequestFrame(nil, method, params)
	if err != nil {
		s.m.log.Error("encode session event", "session", s.id, "error", err)
		return 0
	}
	return s.append(journal.FromAgent, frame)
}

// changed has the record saved soon.
func (s *session) changed() { s.m.saving.note(s) }

// lock takes the opening token.
func (s *session) lock(ctx context.Context) error {
	select {
	case s.opening <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) unlock() { <-s.opening }

// stopped notes that the session has no agent any more: what the agent worked
// on and asked is void.
func (s *session) stopped(reason string) {
	s.mu.Lock()
	if s.stopping != "" {
		reason = s.stopping
	}
	s.link, s.running, s.asking = nil, 0, 0
	s.wakeQuiet()
	s.rec.Reason = reason
	clear(s.calls)
	void := s.takePending()
	s.mu.Unlock()
	for _, p := range void {
		s.void(p)
	}
	s.notify(api.EventSessionStopped, map[string]string{"reason": reason})
	s.changed()
}

// wakeQuiet tells those who wait that no prompt runs. The caller holds mu.
func (s *session) wakeQuiet() {
	if s.quiet != nil && s.running == 0 {
		close(s.quiet)
		s.quiet = nil
	}
}

// awaitQuiet waits until the agent works on no prompt.
func (s *session) awaitQuiet(ctx context.Context) error {
	for {
		s.mu.Lock()
		if s.running == 0 {
			s.mu.Unlock()
			return nil
		}
		if s.quiet == nil {
			s.quiet = make(chan struct{})
		}
		quiet := s.quiet
		s.mu.Unlock()
		select {
		case <-quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle reports since when the agent of the session has nothing to do; ok is
// false when it has something to do, or is not ours to stop.
func (s *session) idle() (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.owned() && !s.busy() && !s.starting && len(s.pending) == 0
}

func (s *session) idleSince(t time.Time) bool {
	since, ok := s.idle()
	return ok && !since.After(t)
}

// reap stops the agent of a session that is still idle. It reports whether it
// did.
func (s *session) reap(before time.Time) bool {
	select {
	case s.opening <- struct{}{}:
		defer s.unlock()
	default:
		return false
	}
	if !s.idleSince(before) {
		return false
	}
	s.m.log.Info("stop idle agent", "session", s.id)
	return s.halt(s.m.ctx, "idle") == nil
}

// halt stops the agent of the session's own connection. The caller holds the
// opening token, unless the agent is to stop whatever others do with it.
func (s *session) halt(ctx context.Context, reason string) error {
	s.mu.Lock()
	s.stopping = reason
	s.mu.Unlock()
	err := s.m.bridge.Stop(ctx, s.server())
	s.mu.Lock()
	s.stopping = ""
	s.mu.Unlock()
	return err
}

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

// text returns a member of raw JSON as a string, or nothing.
func text(raw json.RawMessage, name string) string {
	var object map[string]json.RawMessage
	var value string
	if json.Unmarshal(raw, &object) != nil || json.Unmarshal(object[name], &value) != nil {
		return ""
	}
	return value
}

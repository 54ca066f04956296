package fakeagent

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
)

// The settings of a session. The first value of each is the default.
var (
	modes    = []acp.Mode{{ID: "normal", Name: "Normal", Description: "Ask, then change"}, {ID: modePlan, Name: "Plan", Description: "Only say what would be done"}}
	models   = []acp.Model{{ModelID: "mock", Name: "Mock"}, {ModelID: "mock-fast", Name: "Mock Fast"}}
	thoughts = []acp.ConfigValue{{Value: "low", Name: "Low"}, {Value: "medium", Name: "Medium"}, {Value: "high", Name: "High"}}
)

const modePlan = "plan"

// A session is one conversation. Turns of one session run one after another.
type session struct {
	id   string
	turn chan struct{} // holds a token while a turn runs

	mu      sync.Mutex
	meta    meta
	history []acp.Update
	unsaved int // updates at the end of history that are not on disk
	cancels map[int]context.CancelFunc
	nextID  int
}

// meta is what a session is besides its history.
type meta struct {
	ID      string   `json:"id"`
	CWD     string   `json:"cwd"`
	Title   string   `json:"title"`
	Model   string   `json:"model"`
	Mode    string   `json:"mode"`
	Thought string   `json:"thoughtLevel"`
	Always  []string `json:"always"` // tool kinds allowed for good
	Used    int64    `json:"used"`   // tokens of context
	Updated string   `json:"updated"`
}

func openSession(m meta, history []acp.Update) *session {
	return &session{id: m.ID, turn: make(chan struct{}, 1), meta: m, history: history, cancels: map[int]context.CancelFunc{}}
}

// now is the time as session lists give it.
func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// session finds an open session.
func (a *agent) session(id string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sessions[id]; s != nil {
		return s, nil
	}
	return nil, acp.Errorf(acp.CodeResourceNotFound, "Session not found: %s", id)
}

func (a *agent) addSession(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[s.id] = s
}

func (a *agent) newSession(in *acp.Incoming) (any, error) {
	var p struct {
		CWD string `json:"cwd"`
	}
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	s := openSession(meta{ID: newID(), CWD: filepath.Clean(p.CWD), Model: models[0].ModelID, Mode: modes[0].ID, Thought: "medium", Updated: now()}, nil)
	if err := a.store.save(s); err != nil {
		return nil, err
	}
	a.addSession(s)
	return s.describe(true), nil
}

// loadSession opens a session and sends its history again.
func (a *agent) loadSession(in *acp.Incoming) (any, error) {
	s, err := a.reopen(in)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	history := slices.Clone(s.history)
	s.mu.Unlock()
	for _, u := range history {
		a.sendUpdate(s, u)
	}
	return s.describe(false), nil
}

// resumeSession opens a session and says nothing of its history.
func (a *agent) resumeSession(in *acp.Incoming) (any, error) {
	s, err := a.reopen(in)
	if err != nil {
		return nil, err
	}
	return s.describe(false), nil
}

func (a *agent) reopen(in *acp.Incoming) (*session, error) {
	var p struct {
		SessionID string `json:"sessionId"`
		CWD       string `json:"cwd"`
	}
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	s, err := a.session(p.SessionID)
	if err != nil {
		m, history, loadErr := a.store.load(p.SessionID)
		if loadErr != nil {
			return nil, loadErr
		}
		s = openSession(m, history)
		a.addSession(s)
	}
	s.mu.Lock()
	s.meta.CWD = filepath.Clean(p.CWD)
	s.mu.Unlock()
	return s, a.store.save(s)
}

func (a *agent) listSessions(in *acp.Incoming) (any, error) {
	var p acp.ListSessionsRequest
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	known, err := a.store.list()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	for id, s := range a.sessions {
		s.mu.Lock()
		known[id] = s.meta
		s.mu.Unlock()
	}
	a.mu.Unlock()
	result := acp.ListSessionsResult{Sessions: []acp.SessionInfo{}}
	for _, m := range known {
		if p.CWD == "" || p.CWD == m.CWD {
			result.Sessions = append(result.Sessions, acp.SessionInfo{SessionID: m.ID, CWD: m.CWD, Title: m.Title, UpdatedAt: m.Updated})
		}
	}
	slices.SortFunc(result.Sessions, func(x, y acp.SessionInfo) int {
		if x.UpdatedAt != y.UpdatedAt {
			return strings.Compare(y.UpdatedAt, x.UpdatedAt)
		}
		return strings.Compare(x.SessionID, y.SessionID)
	})
	return result, nil
}

// closeSession ends the turns of a session and forgets it; what is on disk stays.
func (a *agent) closeSession(in *acp.Incoming) (any, error) {
	s, err := a.session(in.SessionID)
	if err != nil {
		return nil, err
	}
	s.cancelTurns()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store.dir != "" {
		delete(a.sessions, s.id)
	}
	return nil, nil
}

func (a *agent) setMode(in *acp.Incoming) (any, error) {
	var p acp.SetModeRequest
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	_, err := a.set(p.SessionID, acp.CategoryMode, p.ModeID)
	return nil, err
}

func (a *agent) setModel(in *acp.Incoming) (any, error) {
	var p acp.SetModelRequest
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	s, err := a.set(p.SessionID, acp.CategoryModel, p.ModelID)
	if err == nil {
		a.sendUpdate(s, acp.Update{Kind: acp.UpdateConfigOption, ConfigOptions: s.options()})
	}
	return nil, err
}

func (a *agent) setConfigOption(in *acp.Incoming) (any, error) {
	var p acp.SetConfigOptionRequest
	if err := in.Decode(&p); err != nil {
		return nil, err
	}
	s, err := a.set(p.SessionID, p.ConfigID, p.Value)
	if err != nil {
		return nil, err
	}
	return acp.SetConfigOptionResult{ConfigOptions: s.options()}, nil
}

// set changes one setting, and tells of a new mode. Options are not told beside an
// answer that has them: clients may read updates late, and would take back what was
// answered since.
func (a *agent) set(sessionID, option, value string) (*session, error) {
	s, err := a.session(sessionID)
	if err != nil {
		return nil, err
	}
	o := acp.OptionByID(s.options(), option)
	if o == nil {
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: unknown config option %q", option)
	}
	if !o.Allows(value) {
		var names []string
		for _, v := range o.Values() {
			names = append(names, v.Value)
		}
		return nil, acp.Errorf(acp.CodeInvalidParams, "Invalid params: %s cannot be %q, only one of %s", option, value, strings.Join(names, ", "))
	}
	s.mu.Lock()
	switch option {
	case acp.CategoryModel:
		s.meta.Model = value
	case acp.CategoryMode:
		s.meta.Mode = value
	case acp.CategoryThoughtLevel:
		s.meta.Thought = value
	}
	s.mu.Unlock()
	if err := a.store.save(s); err != nil {
		return nil, err
	}
	if option == acp.CategoryMode {
		a.sendUpdate(s, acp.Update{Kind: acp.UpdateCurrentMode, ModeID: value})
	}
	return s, nil
}

func (s *session) describe(withID bool) acp.SessionResult {
	m := s.snapshot()
	r := acp.SessionResult{
		Modes:         &acp.SessionModes{CurrentModeID: m.Mode, AvailableModes: modes},
		Models:        &acp.SessionModels{CurrentModelID: m.Model, AvailableModels: models},
		ConfigOptions: s.options(),
	}
	if withID {
		r.SessionID = s.id
	}
	return r
}

func (s *session) options() []acp.ConfigOption {
	m := s.snapshot()
	var modelValues, modeValues []acp.ConfigValue
	for _, v := range models {
		modelValues = append(modelValues, acp.ConfigValue{Value: v.ModelID, Name: v.Name})
	}
	for _, v := range modes {
		modeValues = append(modeValues, acp.ConfigValue{Value: v.ID, Name: v.Name, Description: v.Description})
	}
	option := func(id, name, current string, values []acp.ConfigValue) acp.ConfigOption {
		return acp.ConfigOption{ID: id, Name: name, Category: id, Type: acp.OptionSelect, CurrentValue: current, Options: values}
	}
	return []acp.ConfigOption{
		option(acp.CategoryModel, "Model", m.Model, modelValues),
		option(acp.CategoryMode, "Mode", m.Mode, modeValues),
		option(acp.CategoryThoughtLevel, "Thought Level", m.Thought, thoughts),
	}
}

func (s *session) snapshot() meta {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meta
	m.Always = slices.Clone(m.Always)
	return m
}

// begin returns the context of a new turn, and the function that ends it.
func (s *session) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextID
	s.nextID++
	s.cancels[id] = cancel
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cancels, id)
	}
}

// acquire waits for the turns before, and reports false if ctx ended meanwhile.
// A turn that does not have to wait begins even if it is cancelled by now, since
// it may be one that does not heed that.
func (s *session) acquire(ctx context.Context) bool {
	select {
	case s.turn <- struct{}{}:
		return true
	default:
	}
	select {
	case s.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *session) cancelTurns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.cancels {
		cancel()
	}
}

// record adds an update to the history, of which the newest part is kept.
func (s *session) record(u acp.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.history) >= 2*maxHistory {
		s.history = slices.Clone(s.history[len(s.history)-maxHistory:])
		s.unsaved = min(s.unsaved, len(s.history))
	}
	s.history = append(s.history, u)
	s.unsaved++
}

package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// RecordKind is where sessions stand among the journal's records.
const RecordKind = "session"

// recordVersion is that of the code that makes the derived part of a record. A change
// of what the code makes of events needs another one: see fold.
const recordVersion = 1

// record is what is kept of a session alongside its events. Settings, which clients
// make, are on disk when the call returns that made them. What is derived from the
// events is a checkpoint, written a moment later; after a crash the events behind
// Applied make up for what it lacks.
type record struct {
	Version        int                   `json:"version,omitempty"`
	Applied        uint64                `json:"applied,omitempty"` // newest event that the derived part has
	ID             string                `json:"id"`
	Agent          string                `json:"agent"`
	AgentSessionID string                `json:"agentSessionId"`
	Former         []string              `json:"former,omitempty"` // other ids it is found by: earlier ones of the agent, and its client's own
	Server         string                `json:"server"`           // connection it was last open on
	Bound          []binding             `json:"bound,omitempty"`
	Client         string                `json:"client,omitempty"`  // how the client that opened it calls itself
	Ephemeral      bool                  `json:"-"`                 // is in memory alone; set once
	Owner          string                `json:"virtual,omitempty"` // connection of its client, if the agent has another one
	Named          bool                  `json:"claimed,omitempty"` // a client has called it by an id
	CreatedAt      int64                 `json:"createdAt"`
	UpdatedAt      int64                 `json:"updatedAt"`
	DestroyedAt    int64                 `json:"destroyedAt,omitempty"`
	Live           bool                  `json:"live,omitempty"`    // had an agent when this was written
	Settled        uint64                `json:"settled,omitempty"` // as of this event nothing was open
	Turn           string                `json:"turn,omitempty"`    // that was under way when this was written
	Reason         string                `json:"reason,omitempty"`
	Title          string                `json:"title,omitempty"` // by a client, so the agent's does not count
	AgentTitle     string                `json:"agentTitle,omitempty"`
	TitledBy       string                `json:"titledBy,omitempty"` // session of the agent that AgentTitle is from
	First          string                `json:"first,omitempty"`    // start of the first prompt
	CWD            string                `json:"cwd"`
	MCPServers     []acp.MCPServer       `json:"mcpServers,omitempty"`
	Env            map[string]string     `json:"env,omitempty"`
	Options        []acp.ConfigOption    `json:"options,omitempty"`
	Modes          *acp.SessionModes     `json:"modes,omitempty"`
	Models         *acp.SessionModels    `json:"models,omitempty"`
	Chosen         map[string]string     `json:"chosen,omitempty"` // settings made by clients, for the next agent
	Usage          api.SessionUsage      `json:"usage"`
	Counted        uint64                `json:"counted,omitempty"`     // newest event that Usage has
	Summed         acp.Usage             `json:"summed,omitzero"`       // what an agent that tells sums has told last
	SpentBefore    float64               `json:"spentBefore,omitempty"` // that the agent does not count any more
	Last           uint64                `json:"last"`                  // newest event
	Restored       *api.SessionRestored  `json:"restored,omitempty"`
	Primer         bool                  `json:"primer,omitempty"` // the next prompt must tell what was said before
	Policy         *api.PermissionPolicy `json:"policy,omitempty"`
	Remembered     []api.PermissionRule  `json:"remembered,omitempty"`
	Metadata       map[string]any        `json:"metadata,omitempty"`
}

// binding says from which event on a session was open on a connection.
type binding struct {
	From   uint64 `json:"from"`
	Server string `json:"server"`
}

// stream is the journal's stream of a session's events, for one that is on disk.
func stream(id string) string { return streamPrefix + id }

// stream is the journal's stream of the session's events.
func (s *session) stream() string { return s.events }

// where names what the journal has of the session: in memory alone if it is
// ephemeral.
func (s *session) where(name string) string {
	if s.rec.Ephemeral {
		return journal.MemoryPrefix + name
	}
	return name
}

const streamPrefix = "session/"

// load reads the sessions of the journal. What was open when the server ended is
// settled.
func (m *Manager) load(ctx context.Context) error {
	if err := m.inbox.load(ctx); err != nil {
		return err
	}
	records, err := m.cfg.Journal.ListRecords(ctx, RecordKind, "")
	if err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	infos, err := m.cfg.Journal.Streams(ctx, streamPrefix)
	if err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	last := make(map[string]uint64, len(infos))
	for _, info := range infos {
		last[info.Name] = info.Last
	}
	for _, r := range records {
		rec, dropped, err := decodeRecord(r.Data)
		if err != nil {
			m.log.Error("session is left out, its record cannot be read", "session", r.ID, "error", err)
			continue
		}
		rec.reach(last[stream(rec.ID)])
		sealed := m.sealLoaded(&rec)
		s := newSession(m, rec)
		s.outdated = rec.Version != recordVersion
		m.index(s)
		if rec.open() {
			m.current(s)
			s.endOpen(ctx, serverEnded)
		}
		if len(dropped) > 0 {
			m.log.Warn("permission rules of an earlier build are dropped: they name the title of a call, or allow everything", "session", rec.ID, "rules", len(dropped))
			s.notify(api.EventPermissionRulesForgotten, api.PermissionRulesForgotten{Rules: dropped})
			s.changed()
		}
		if sealed {
			s.changed()
		}
	}
	m.inbox.catchUp(ctx)
	return m.sealStored(ctx)
}

// reach takes the number of the newest event that the journal has. A record may be
// ahead of it, as it can be on disk before the events that it tells of. Their numbers
// are given to other events then, which it must not take for those that it knows.
func (r *record) reach(last uint64) {
	r.Last, r.Settled, r.Counted, r.Applied = last, min(r.Settled, last), min(r.Counted, last), min(r.Applied, last)
	for i := range r.Bound {
		r.Bound[i].From = min(r.Bound[i].From, last+1)
	}
}

// open reports whether something may not have ended when the record was written.
func (r *record) open() bool { return r.Live || r.Settled > 0 && r.Settled < r.Last }

// index makes a session known. The caller holds mu, or is the only one.
func (m *Manager) index(s *session) {
	m.sessions[s.id] = s
	if s.rec.AgentSessionID != "" {
		m.agentIDs[s.rec.AgentSessionID] = s
	}
	for _, id := range s.rec.Former {
		if m.agentIDs[id] == nil {
			m.agentIDs[id] = s
		}
	}
}

// saveDelay is for how long changes of records gather until they are written, since a
// prompt makes several, and the transaction is what costs.
const saveDelay = 100 * time.Millisecond

// saver writes changed records after whoever changed them.
type saver struct {
	m     *Manager
	mu    sync.Mutex
	dirty map[*session]struct{}
	kick  chan struct{} // has room for one: something is dirty

	flushing sync.Mutex // one flush at a time, as each holds several session.saving
}

func (v *saver) init(m *Manager) {
	v.m, v.dirty, v.kick = m, make(map[*session]struct{}), make(chan struct{}, 1)
	m.cfg.Journal.BeforeDrop(v.flush)
}

// note has a record written soon.
func (v *saver) note(s *session) {
	v.mu.Lock()
	v.dirty[s] = struct{}{}
	v.mu.Unlock()
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// run writes records until the manager closes, and then the last ones.
func (v *saver) run() {
	defer v.flush()
	for {
		select {
		case <-v.m.ctx.Done():
			return
		case <-v.kick:
		}
		select {
		case <-v.m.ctx.Done():
			return
		case <-time.After(saveDelay):
		}
		v.flush()
	}
}

// flush writes what is dirty in one transaction.
func (v *saver) flush() {
	v.flushing.Lock()
	defer v.flushing.Unlock()
	v.mu.Lock()
	batch := v.dirty
	v.dirty = make(map[*session]struct{})
	v.mu.Unlock()
	var records []journal.Record
	for s := range batch {
		if s.rec.Ephemeral {
			continue
		}
		s.saving.Lock()
		defer s.saving.Unlock()
		data, _, err := s.encode()
		if err != nil {
			v.m.log.Warn("session is not on disk", "session", s.id, "error", err)
		} else if data != nil {
			records = append(records, journal.Record{ID: s.id, Data: data})
		}
	}
	if len(records) == 0 {
		return
	}
	if err := v.m.cfg.Journal.PutRecords(context.WithoutCancel(v.m.ctx), RecordKind, records); err != nil {
		v.m.log.Warn("sessions are not on disk", "sessions", len(records), "error", err)
	}
}

// save writes a record; it is durable when save returns. A session that was
// purged stays away.
func (m *Manager) save(ctx context.Context, s *session) error {
	if s.rec.Ephemeral {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	data, _, err := s.encode()
	if data == nil {
		return err
	}
	if err := m.cfg.Journal.PutRecord(ctx, RecordKind, s.id, data); err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// encode returns the record as it is now, and its newest event; nothing of a
// session that was purged.
func (s *session) encode() (data []byte, last uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.purged {
		return nil, 0, nil
	}
	s.rec.Live = s.link != nil || s.running > 0 || s.turn != nil
	if s.rec.Turn = ""; s.turn != nil {
		s.rec.Turn = s.turn.id
	}
	if !s.busy() && len(s.pending) == 0 && s.asking == 0 {
		s.rec.Settled = s.rec.Last
	}
	if data, err = json.Marshal(s.rec); err != nil {
		return nil, 0, fmt.Errorf("encode session: %w", err)
	}
	return data, s.rec.Last, nil
}

// What is stored for a session besides its record: what was configured for it
// alone.
const (
	StoredMCP    = "mcp"
	StoredSkills = "skills"
)

// storedKind is where that stands among the journal's records, by the id of the
// session and one of the words above.
const storedKind = "session-config"

func (s *session) storedKind() string { return s.where(storedKind) }

// storedRecord returns what the journal has of it.
func (m *Manager) storedRecord(ctx context.Context, s *session, what string) ([]byte, error) {
	data, err := m.cfg.Journal.GetRecord(ctx, s.storedKind(), s.id+"/"+what)
	if errors.Is(err, api.CodeRecordNotFound) {
		return nil, nil
	}
	return data, err
}

package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// inboxStream is the journal's stream of what becomes of the permission requests
// of all sessions. It names them and holds nothing of what was asked, so that a
// session that is purged leaves nothing behind.
const inboxStream = "permissions"

// inboxKind is where the checkpoint of that stream stands among the journal's
// records.
const (
	inboxKind   = "permission-inbox"
	inboxRecord = "checkpoint"
)

// checkpointEvery is how many events of the stream are read at a start, at most.
const checkpointEvery = 512

// inbox are the permission requests of all sessions that wait for a reply. Its
// list and its stream change as one, so that who reads the list and then the stream
// misses nothing and gets nothing twice.
type inbox struct {
	m *Manager

	mu      sync.Mutex
	waiting map[string]*permissionRequest // by id
	named   map[string]inboxEntry         // asked in the stream and not resolved there
	already map[string]bool               // at a start: resolved in the stream since the checkpoint; else nil
	since   int                           // events since the checkpoint
}

// inboxEntry names a permission request in the stream.
type inboxEntry struct {
	Type         string                  `json:"type"`
	SessionID    string                  `json:"sessionId"`
	PermissionID string                  `json:"permissionId"`
	Event        uint64                  `json:"event"`
	Resolved     *api.PermissionResolved `json:"resolved,omitempty"`
}

// inboxCheckpoint is what was asked and not resolved as of an event.
type inboxCheckpoint struct {
	Seq   uint64       `json:"seq"`
	Named []inboxEntry `json:"named"`
}

// load reads what the stream knows, before the sessions end what the end of the
// server left open.
func (b *inbox) load(ctx context.Context) error {
	b.waiting, b.named, b.already = make(map[string]*permissionRequest), make(map[string]inboxEntry), make(map[string]bool)
	var at inboxCheckpoint
	data, err := b.m.cfg.Journal.GetRecord(ctx, inboxKind, inboxRecord)
	if err == nil {
		err = json.Unmarshal(data, &at)
	}
	if err != nil && !errors.Is(err, api.CodeRecordNotFound) {
		return fmt.Errorf("load permission inbox: %w", err)
	}
	for _, e := range at.Named {
		b.named[e.PermissionID] = e
	}
	_, last, err := b.m.cfg.Journal.Bounds(inboxStream)
	if err != nil {
		return fmt.Errorf("load permission inbox: %w", err)
	}
	reader := b.m.cfg.Journal.Reader(inboxStream, min(at.Seq, last))
	for reader.Cursor() < last {
		batch, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("load permission inbox: %w", err)
		}
		for _, raw := range batch.Entries {
			var e inboxEntry
			if json.Unmarshal(raw.Frame, &e) != nil {
				continue
			}
			b.since++
			if e.Type == api.PermissionAsked {
				b.named[e.PermissionID] = e
			} else {
				delete(b.named, e.PermissionID)
				b.already[e.PermissionID] = true
			}
		}
	}
	return nil
}

// catchUp resolves in the stream what the sessions have resolved without it, as the
// server was killed in between. The sessions are loaded.
func (b *inbox) catchUp(ctx context.Context) {
	b.mu.Lock()
	b.already = nil
	lost := slices.Collect(maps.Values(b.named))
	b.mu.Unlock()
	for _, e := range lost {
		res := b.m.resolution(ctx, e)
		b.resolved(e.SessionID, false, e.Event, res)
	}
}

// resolution finds how a session has resolved a permission request. No agent waits
// for one that is not resolved.
func (m *Manager) resolution(ctx context.Context, e inboxEntry) api.PermissionResolved {
	none := api.PermissionResolved{PermissionID: e.PermissionID, Reply: api.ReplyCancel, By: api.ByAgent, At: time.Now().UnixMilli()}
	s := m.lookup(e.SessionID)
	if s == nil {
		return none
	}
	reader := m.cfg.Journal.Reader(s.stream(), e.Event)
	for reader.Cursor() < s.rec.Last {
		batch, err := reader.Next(ctx)
		if err != nil {
			break
		}
		for _, entry := range batch.Entries {
			var res api.PermissionResolved
			msg, err := acp.Parse(entry.Frame)
			if err == nil && msg.Method == api.EventPermissionResolved && decodeMember(entry.Frame, "params", &res) && res.PermissionID == e.PermissionID {
				return res
			}
		}
	}
	return none
}

// asked adds a permission request that waits for a reply.
func (b *inbox) asked(s *session, p *permissionRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.rec.Ephemeral {
		b.waiting[p.ID] = p // the stream is on disk
		return
	}
	e := inboxEntry{Type: api.PermissionAsked, SessionID: p.SessionID, PermissionID: p.ID, Event: p.Event}
	b.waiting[p.ID], b.named[p.ID] = p, e
	b.append(e)
}

// resolved takes a permission request off, whether it waited or the policy has
// decided it at once. Those of a volatile session are not in the stream.
func (b *inbox) resolved(session string, volatile bool, event uint64, res api.PermissionResolved) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, res.PermissionID)
	delete(b.named, res.PermissionID)
	if volatile {
		return
	}
	if b.already[res.PermissionID] {
		return // the end of the server has only kept it from the session
	}
	b.append(inboxEntry{Type: api.PermissionWasResolved, SessionID: session, PermissionID: res.PermissionID, Event: event, Resolved: &res})
}

// append adds to the stream. The caller holds mu.
func (b *inbox) append(e inboxEntry) {
	frame, err := json.Marshal(e)
	if err == nil {
		_, err = b.m.cfg.Journal.Append(inboxStream, journal.FromAgent, frame)
	}
	if err != nil {
		b.m.log.Warn("journal permission request", "session", e.SessionID, "error", err)
		return
	}
	if b.since++; b.since%checkpointEvery == 0 {
		b.m.spawn(func() { b.checkpoint(b.m.ctx) })
	}
}

// checkpoint saves what was asked and not resolved, so that a start need not read
// all of the stream.
func (b *inbox) checkpoint(ctx context.Context) {
	b.mu.Lock()
	since := b.since
	seq, err := b.m.cfg.Journal.Last(inboxStream)
	at := inboxCheckpoint{Seq: seq, Named: slices.Collect(maps.Values(b.named))}
	b.mu.Unlock()
	if since == 0 {
		return
	}
	if err == nil { // else the record could be ahead of the stream
		err = b.m.cfg.Journal.Wait(ctx, inboxStream, seq)
	}
	var data []byte
	if err == nil {
		data, err = json.Marshal(at)
	}
	if err == nil {
		err = b.m.cfg.Journal.PutRecord(ctx, inboxKind, inboxRecord, data)
	}
	if err != nil {
		if ctx.Err() == nil {
			b.m.log.Warn("save permission inbox", "error", err)
		}
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since -= since
}

// PermissionInbox returns the permission requests of all sessions that wait for a
// reply, and where their stream goes on.
func (m *Manager) PermissionInbox(ctx context.Context) (*api.PermissionInbox, error) {
	b := &m.inbox
	b.mu.Lock()
	seq, err := m.cfg.Journal.Last(inboxStream)
	waiting := slices.Collect(maps.Values(b.waiting))
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := &api.PermissionInbox{Permissions: make([]api.Permission, 0, len(waiting)), Cursor: seq}
	for _, p := range waiting {
		out.Permissions = append(out.Permissions, p.Permission)
	}
	slices.SortFunc(out.Permissions, func(a, b api.Permission) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.SessionID, b.SessionID), cmp.Compare(a.Event, b.Event))
	})
	if seq > 0 { // a killed server must not use the number again
		if err := m.cfg.Journal.Wait(ctx, inboxStream, seq); err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// PendingPermission returns the permission request with an id, nil if none waits for
// a reply.
func (m *Manager) PendingPermission(id string) *api.Permission {
	m.inbox.mu.Lock()
	defer m.inbox.mu.Unlock()
	p := m.inbox.waiting[id]
	if p == nil {
		return nil
	}
	whole := p.Permission
	return &whole
}

// FollowPermissions returns a reader of the events of all permission requests
// behind after, and what turns its entries into events.
func (m *Manager) FollowPermissions(ctx context.Context, after uint64) (*journal.Reader, func(journal.Entry) api.PermissionEvent) {
	return m.cfg.Journal.Reader(inboxStream, after), func(raw journal.Entry) api.PermissionEvent {
		var e inboxEntry
		if err := json.Unmarshal(raw.Frame, &e); err != nil {
			m.log.Warn("read permission event", "seq", raw.Seq, "error", err)
		}
		out := api.PermissionEvent{
			Seq: raw.Seq, Type: e.Type, At: raw.Time, SessionID: e.SessionID, PermissionID: e.PermissionID, Event: e.Event, Resolved: e.Resolved,
		}
		if e.Type == api.PermissionAsked {
			out.Permission = m.permissionOf(ctx, e)
		}
		return out
	}
}

// permissionOf returns what was asked: while it waits as it stands in the list,
// later from the event that asks. It is nil when neither is there.
func (m *Manager) permissionOf(ctx context.Context, e inboxEntry) *api.Permission {
	if p := m.PendingPermission(e.PermissionID); p != nil {
		return p
	}
	s := m.lookup(e.SessionID)
	if s == nil || e.Event == 0 {
		return nil
	}
	s.mu.Lock()
	last, agentSession := s.rec.Last, s.rec.AgentSessionID
	s.mu.Unlock()
	if e.Event > last {
		return nil
	}
	batch, err := m.cfg.Journal.Reader(s.stream(), e.Event-1).Next(ctx)
	if err != nil || len(batch.Entries) == 0 || batch.Entries[0].Seq != e.Event {
		return nil
	}
	asked := batch.Entries[0]
	req, why := acp.ReadPermissionRequest(asked.Frame)
	if why != nil {
		return nil
	}
	return &api.Permission{
		ID: e.PermissionID, SessionID: s.id, AgentSessionID: agentSession, ToolCall: req.ToolCall,
		Options: req.Options, AvailableReplies: []string{}, CreatedAt: asked.Time, Event: e.Event,
	}
}

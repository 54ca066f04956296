package session

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/secrets"
)

// Selection is all of a journal that belongs to sessions, for an export.
var Selection = journal.Selection{
	Stream: func(name string) bool { return strings.HasPrefix(name, streamPrefix) },
	Record: func(kind, _ string) bool { return kind == RecordKind || kind == storedKind },
}

// Export returns the function that writes sessions, all of them when ids is empty,
// as lines of JSON: what Import reads. Sessions go on meanwhile, and each is
// written up to an event that is its newest at some moment after the start. One
// that is purged meanwhile may be there in part.
func (m *Manager) Export(ids []string) (func(ctx context.Context, w io.Writer) error, error) {
	var chosen []*session
	for _, id := range ids {
		s, err := m.find(id)
		if err != nil {
			return nil, err
		}
		if s.rec.Ephemeral {
			return nil, api.InvalidRequest(api.CodeInvalidRequest, "session %s is ephemeral: it is not exported, as nothing of it may be on a disk", id)
		}
		chosen = append(chosen, s)
	}
	if len(ids) == 0 {
		chosen = slices.DeleteFunc(m.all(), func(s *session) bool { return s.rec.Ephemeral })
	}
	slices.SortFunc(chosen, func(a, b *session) int { return strings.Compare(a.id, b.id) })
	chosen = slices.Compact(chosen)
	return func(ctx context.Context, w io.Writer) error {
		written := make(map[string]bool, len(chosen))
		_, err := m.cfg.Journal.Export(ctx, w, journal.Selection{
			Stream: func(name string) bool { return written[name] },
			Records: func(put func(kind, id string, data []byte) error) error {
				for _, s := range chosen {
					there, err := m.exportRecords(ctx, s, put)
					if err != nil {
						return err
					}
					written[s.stream()] = there
				}
				return nil
			},
		})
		return err
	}, nil
}

// exportRecords gives the records of a session, unless it was purged, and waits
// until readers can get the events that they tell of.
func (m *Manager) exportRecords(ctx context.Context, s *session, put func(kind, id string, data []byte) error) (there bool, err error) {
	data, last, err := s.encode()
	if data == nil {
		return false, err
	}
	if err := put(RecordKind, s.id, data); err != nil {
		return false, err
	}
	stored, err := m.cfg.Journal.ListRecords(ctx, s.storedKind(), s.id+"/")
	if err != nil {
		return false, err
	}
	for _, r := range stored {
		if err := put(storedKind, r.ID, r.Data); err != nil {
			return false, err
		}
	}
	if shown, ok := m.cfg.Journal.Shown(s.stream()); ok && shown < last {
		// While the store fails this is an error, and the events are there.
		_ = m.cfg.Journal.Wait(ctx, s.stream(), last)
	}
	return true, ctx.Err()
}

// Import reads what Export has written: all of it, or nothing when there is an
// error. Of the parts in [api.ImportParts] it takes those in keep. The sessions are in the list when it returns, stopped; what was open in
// them when they were exported is ended. Problems have the codes
// session_already_exists, invalid_session_id, limit_exceeded (maxSessions or
// maxFrameBytes) and invalid_request for everything that an export does not have.
func (m *Manager) Import(ctx context.Context, r io.Reader, keep []string) (*api.SessionImport, error) {
	in := incoming{m: m, keep: keep, ids: []string{}, records: make(map[string]record), secret: make(map[string]kept)}
	tally, err := m.cfg.Journal.Import(ctx, r, journal.ImportOptions{Stream: in.stream, Record: in.record})
	if err != nil {
		in.release()
		return nil, err
	}
	// The journal has them, so they are there whatever becomes of the request.
	in.arrive(context.WithoutCancel(ctx))
	return &api.SessionImport{Sessions: in.ids, Events: tally.Entries, Dropped: in.dropped}, nil
}

// incoming are the sessions of an import. It holds their ids.
type incoming struct {
	m       *Manager
	keep    []string // parts
	ids     []string // in the order of the file
	records map[string]record
	secret  map[string]kept // what the records have no more
	dropped []api.ImportDropped
}

// stream leaves out the events of sessions that are lost, as a damaged journal may
// have them.
func (in *incoming) stream(name string) (string, error) {
	id, ok := strings.CutPrefix(name, streamPrefix)
	if !ok {
		return "", notOfSession("stream", name)
	}
	if _, ok := in.records[id]; !ok {
		in.m.log.Warn("events without a session are not imported", "session", id)
		return "", nil
	}
	return name, nil
}

func (in *incoming) record(kind, id string, data []byte) (string, []byte, error) {
	switch kind {
	case RecordKind:
		data, err := in.session(id, data)
		return id, data, err
	case storedKind:
		kept, err := in.stored(id, data)
		if !kept || err != nil {
			return "", nil, err
		}
		return id, in.sealStored(id, data), nil
	}
	return "", nil, notOfSession("record", kind+" "+id)
}

func notOfSession(what, name string) error {
	return api.InvalidRequest(api.CodeInvalidRequest, "this is no %s of a session that is in the file: %s", what, name)
}

// session reads the record of a session, and returns it without what is dropped.
func (in *incoming) session(id string, data []byte) ([]byte, error) {
	rec, _, err := decodeRecord(data)
	if err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidRequest, "read session %s: %w", id, err)
	}
	if !validID(id) || rec.ID != id {
		return nil, invalidID(id)
	}
	in.dropped = append(in.dropped, rec.disarm(in.keep)...)
	k, found, err := seal(&rec)
	if err != nil {
		return nil, err
	}
	if found {
		in.secret[id] = k
	}
	data, err = json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode session %s: %w", id, err)
	}
	m := in.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, shuttingDown()
	}
	if err := m.room(id); err != nil {
		return nil, err
	}
	m.reserved[id] = true
	in.ids = append(in.ids, id)
	in.records[id] = rec
	return data, nil
}

// stored reads what was configured for a session, and reports whether it is kept.
func (in *incoming) stored(name string, data []byte) (kept bool, err error) {
	id, what, _ := strings.Cut(name, "/")
	if _, ok := in.records[id]; !ok || what != StoredMCP && what != StoredSkills {
		return false, notOfSession("record", storedKind+" "+name)
	}
	if err := in.m.cfg.Agents.CheckStored(what, data); err != nil {
		return false, api.InvalidRequest(api.CodeInvalidRequest, "read configuration %s: %w", name, err)
	}
	part := map[string]string{StoredMCP: api.ImportMCP, StoredSkills: api.ImportSkills}[what]
	if slices.Contains(in.keep, part) {
		return true, nil
	}
	if names := configured(data); len(names) > 0 {
		in.dropped = append(in.dropped, api.ImportDropped{Session: id, Part: part, Names: names})
	}
	return false, nil
}

// sealStored takes the secrets out of what was configured for a session.
func (in *incoming) sealStored(name string, data []byte) []byte {
	shown := secrets.Conceal(data)
	if bytes.Equal(shown, data) {
		return data
	}
	id, what, _ := strings.Cut(name, "/")
	k := in.secret[id]
	if k.Stored == nil {
		k.Stored = make(map[string]json.RawMessage)
	}
	k.Stored[what] = bytes.Clone(data)
	in.secret[id] = k
	return shown
}

// arrive makes the sessions known that the journal has now.
func (in *incoming) arrive(ctx context.Context) {
	m := in.m
	for _, id := range in.ids {
		rec := in.records[id]
		if k, ok := in.secret[id]; ok {
			if err := m.keep(id, false, k); err != nil {
				m.log.Error("secrets of an imported session are lost", "session", id, "error", err)
			}
		}
		last, err := m.cfg.Journal.Last(stream(id))
		if err != nil {
			m.log.Error("events of an imported session cannot be told", "session", id, "error", err)
		}
		rec.reach(last)
		s := newSession(m, rec)
		if rec.open() {
			s.endOpen(ctx, moved)
			in.await(ctx, id)
		}
		m.mu.Lock()
		delete(m.reserved, id)
		here := m.agentIDs[rec.AgentSessionID]
		m.index(s)
		if here != nil { // an agent of another server may have had the same id for it
			m.agentIDs[rec.AgentSessionID] = here
		}
		m.mu.Unlock()
	}
}

// await waits until readers can see all events of a session, so that a client that
// looks at it after the import does. A journal that cannot store them shows them
// all the same.
func (in *incoming) await(ctx context.Context, id string) {
	last, err := in.m.cfg.Journal.Last(stream(id))
	if err == nil {
		err = in.m.cfg.Journal.Wait(ctx, stream(id), last)
	}
	if err != nil {
		in.m.log.Warn("events of an imported session are not on disk", "session", id, "error", err)
	}
}

// release gives up the ids.
func (in *incoming) release() {
	in.m.mu.Lock()
	defer in.m.mu.Unlock()
	for _, id := range in.ids {
		delete(in.m.reserved, id)
	}
}

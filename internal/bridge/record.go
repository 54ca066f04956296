package bridge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// recordKind is where connections stand among the journal's records.
const recordKind = "connection"

// record is what is kept of a connection so that its events can be read, and
// its agent started again, by a later run of the server.
type record struct {
	ID        string `json:"id"`
	Agent     string `json:"agent"`
	Stream    string `json:"stream"`
	CreatedMs int64  `json:"createdMs"`
	Base      uint64 `json:"base"`    // last event before the newest process
	Running   bool   `json:"running"` // whether a process was running when this was written
}

// shownID is how much of an id is in the name of its stream, where it only helps
// those who look for it. An id may be longer than such a name.
const shownID = 256

// newRecord gives every connection a stream of its own, so that an id which was
// closed and is used again starts with event 1.
func newRecord(id, agent string, volatile bool) record {
	prefix := ""
	if volatile {
		prefix = journal.MemoryPrefix
	}
	return record{
		ID:        id,
		Agent:     agent,
		Stream:    prefix + "acp/" + strings.ToValidUTF8(id[:min(len(id), shownID)], "") + "/" + rand.Text(),
		CreatedMs: time.Now().UnixMilli(),
	}
}

// clientStream is the stream of what clients said on a connection.
func clientStream(stream string) string { return stream + "/client" }

// kind is where the record stands: in memory alone where its stream is.
func (r record) kind() string {
	if strings.HasPrefix(r.Stream, journal.MemoryPrefix) {
		return journal.MemoryPrefix + recordKind
	}
	return recordKind
}

func loadRecord(ctx context.Context, j *journal.Journal, id string) (*record, error) {
	data, err := j.GetRecord(ctx, journal.MemoryPrefix+recordKind, id)
	if errors.Is(err, api.CodeRecordNotFound) {
		data, err = j.GetRecord(ctx, recordKind, id)
	}
	if errors.Is(err, api.CodeRecordNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load connection: %w", err)
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("decode connection %q: %w", id, err)
	}
	return &rec, nil
}

func saveRecord(ctx context.Context, j *journal.Journal, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode connection: %w", err)
	}
	if err := j.PutRecord(ctx, rec.kind(), rec.ID, data); err != nil {
		return fmt.Errorf("save connection: %w", err)
	}
	return nil
}

func deleteRecord(ctx context.Context, j *journal.Journal, id string) error {
	err := errors.Join(j.DeleteRecord(ctx, journal.MemoryPrefix+recordKind, id), j.DeleteRecord(ctx, recordKind, id))
	if err != nil {
		return fmt.Errorf("delete connection: %w", err)
	}
	return nil
}

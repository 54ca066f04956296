package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// Memory returns a store that keeps everything in memory, for tests and for
// servers without a data directory. What it holds outlives Close, so that a test
// can open it again.
func Memory() Store {
	return &memory{streams: make(map[string]*memoryStream), records: make(map[recordKey]Record)}
}

type memory struct {
	mu      sync.Mutex
	streams map[string]*memoryStream
	records map[recordKey]Record
}

type memoryStream struct {
	info   StreamInfo
	blocks []Block
}

type recordKey struct{ kind, id string }

func (m *memory) AppendBlocks(_ context.Context, blocks []Block) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := make(map[string]uint64)
	for _, b := range blocks {
		if _, ok := last[b.Stream]; !ok && m.streams[b.Stream] != nil {
			last[b.Stream] = m.streams[b.Stream].info.Last
		}
		if b.First <= last[b.Stream] {
			return fmt.Errorf("append to %s: %w", b.Stream, ErrOutOfOrder)
		}
		last[b.Stream] = b.Last
	}
	for _, b := range blocks {
		s := m.streams[b.Stream]
		if s == nil {
			s = &memoryStream{info: StreamInfo{Name: b.Stream, First: b.First, Created: b.Oldest}}
			m.streams[b.Stream] = s
		}
		if len(s.blocks) == 0 {
			s.info.First = b.First
		}
		b.Data = bytes.Clone(b.Data)
		s.blocks = append(s.blocks, b)
		s.info.Last, s.info.Updated = b.Last, b.Newest
		s.info.Bytes += int64(len(b.Data))
	}
	return nil
}

func (m *memory) Read(_ context.Context, stream string, after uint64, limit Limit) ([]Block, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[stream]
	if s == nil {
		return nil, nil
	}
	start, _ := slices.BinarySearchFunc(s.blocks, after, func(b Block, after uint64) int {
		if b.Last <= after {
			return -1
		}
		return 1
	})
	end := start
	for end < len(s.blocks) && limit.Entries > 0 && limit.Bytes > 0 {
		b := s.blocks[end]
		limit.Entries -= int(b.Last - b.First + 1)
		limit.Bytes -= len(b.Data)
		end++
	}
	return slices.Clone(s.blocks[start:end]), nil
}

func (m *memory) Stream(_ context.Context, stream string) (StreamInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.streams[stream]; s != nil {
		return s.info, nil
	}
	return StreamInfo{}, nil
}

func (m *memory) Streams(_ context.Context, prefix string) ([]StreamInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []StreamInfo
	for name, s := range m.streams {
		if strings.HasPrefix(name, prefix) {
			list = append(list, s.info)
		}
	}
	slices.SortFunc(list, func(a, b StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (m *memory) Delete(_ context.Context, stream string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.streams, stream)
	return nil
}

func (m *memory) Install(_ context.Context, names map[string]string, records map[string][]Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if m.streams[name] != nil {
			return fmt.Errorf("install: there is a stream %s", name)
		}
	}
	for old, name := range names {
		if s := m.streams[old]; s != nil {
			delete(m.streams, old)
			s.info.Name, m.streams[name] = name, s
			for i := range s.blocks {
				s.blocks[i].Stream = name
			}
		}
	}
	for kind, list := range records {
		for _, r := range list {
			m.put(kind, r.ID, r.Data)
		}
	}
	return nil
}

func (m *memory) Trim(_ context.Context, only []string, keep Retention, now time.Time) ([]StreamInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var changed []StreamInfo
	for name, s := range m.streams {
		if only != nil && !slices.Contains(only, name) {
			continue
		}
		n := 0
		for _, b := range s.blocks {
			size := int64(len(b.Data))
			if !keep.Drops(s.info, b.Last, b.Newest, size, now) {
				break
			}
			n++
			s.info.First = b.Last + 1
			s.info.Bytes -= size
		}
		if n == 0 {
			continue
		}
		s.blocks = slices.Delete(s.blocks, 0, n)
		if len(s.blocks) > 0 {
			s.info.First = s.blocks[0].First
		}
		changed = append(changed, s.info)
	}
	return changed, nil
}

func (m *memory) Replace(_ context.Context, b Block) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[b.Stream]
	if s == nil {
		return nil
	}
	if b.Data == nil {
		s.info.Merged = b.Last
		return nil
	}
	from, to := len(s.blocks), 0
	var entries, size uint64
	for i, old := range s.blocks {
		if old.First >= b.First && old.First <= b.Last {
			from, to = min(from, i), i+1
			entries += old.Last - old.First + 1
			size += uint64(len(old.Data))
		}
	}
	if from >= to || entries != b.Last-b.First+1 || s.blocks[from].First != b.First || s.blocks[to-1].Last != b.Last {
		return nil
	}
	b.Data = bytes.Clone(b.Data)
	s.blocks = slices.Replace(s.blocks, from, to, b)
	s.info.Bytes += int64(len(b.Data)) - int64(size)
	s.info.Merged = b.Last
	return nil
}

func (m *memory) Vacuum(context.Context) error { return nil }

func (m *memory) PutRecord(_ context.Context, kind, id string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(kind, id, data)
	return nil
}

func (m *memory) PutRecords(_ context.Context, kind string, records []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.put(kind, r.ID, r.Data)
	}
	return nil
}

func (m *memory) put(kind, id string, data []byte) {
	m.records[recordKey{kind, id}] = Record{ID: id, Data: bytes.Clone(data), Updated: time.Now().UnixMilli()}
}

func (m *memory) GetRecord(_ context.Context, kind, id string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[recordKey{kind, id}]
	if !ok {
		return nil, api.NotFound("record", kind+"/"+id)
	}
	return bytes.Clone(r.Data), nil
}

func (m *memory) ListRecords(_ context.Context, kind, prefix string) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Record
	for key, r := range m.records {
		if key.kind == kind && strings.HasPrefix(key.id, prefix) {
			r.Data = bytes.Clone(r.Data)
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

func (m *memory) RecordKinds(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var kinds []string
	for key := range m.records {
		kinds = append(kinds, key.kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds), nil
}

func (m *memory) DeleteRecord(_ context.Context, kind, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, recordKey{kind, id})
	return nil
}

func (m *memory) Close() error { return nil }

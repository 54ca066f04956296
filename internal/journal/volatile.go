package journal

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// MemoryPrefix begins the names of streams, and the kinds of records, that are in
// memory alone, whatever the store of the journal. They end with the journal.
const MemoryPrefix = "memory/"

// maxMemoryBytes bounds all streams in memory together. The oldest entries of those
// that nothing was appended to for the longest time go first.
const maxMemoryBytes = 256 << 20

func inMemory(name string) bool { return strings.HasPrefix(name, MemoryPrefix) }

// split is a store that keeps in memory what must not be on disk.
type split struct {
	Store  // of everything else
	memory Store
}

func (s split) of(name string) Store {
	if inMemory(name) {
		return s.memory
	}
	return s.Store
}

// Ending passes on that the journal is about to close.
func (s split) Ending() error {
	if e, ok := s.Store.(ender); ok {
		return e.Ending()
	}
	return nil
}

func (s split) AppendBlocks(ctx context.Context, blocks []Block) error {
	disk := slices.DeleteFunc(slices.Clone(blocks), func(b Block) bool { return inMemory(b.Stream) })
	if len(disk) > 0 {
		if err := s.Store.AppendBlocks(ctx, disk); err != nil || len(disk) == len(blocks) {
			return err
		}
	}
	return s.memory.AppendBlocks(ctx, slices.DeleteFunc(slices.Clone(blocks), func(b Block) bool { return !inMemory(b.Stream) }))
}

func (s split) Read(ctx context.Context, stream string, after uint64, limit Limit) ([]Block, error) {
	return s.of(stream).Read(ctx, stream, after, limit)
}

func (s split) Stream(ctx context.Context, stream string) (StreamInfo, error) {
	return s.of(stream).Stream(ctx, stream)
}

func (s split) Streams(ctx context.Context, prefix string) ([]StreamInfo, error) {
	list, err := s.Store.Streams(ctx, prefix)
	if err != nil {
		return nil, err
	}
	more, err := s.memory.Streams(ctx, prefix)
	list = append(list, more...)
	slices.SortFunc(list, func(a, b StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

func (s split) Delete(ctx context.Context, stream string) error {
	return s.of(stream).Delete(ctx, stream)
}

func (s split) Replace(ctx context.Context, block Block) error {
	return s.of(block.Stream).Replace(ctx, block)
}

func (s split) Trim(ctx context.Context, only []string, keep Retention, now time.Time) ([]StreamInfo, error) {
	disk, memory := only, only
	if only != nil {
		disk = slices.DeleteFunc(slices.Clone(only), inMemory)
		memory = slices.DeleteFunc(slices.Clone(only), func(name string) bool { return !inMemory(name) })
	}
	changed, err := s.memory.Trim(ctx, memory, keep, now)
	if err != nil || only != nil && len(disk) == 0 {
		return changed, err
	}
	more, err := s.Store.Trim(ctx, disk, keep, now)
	return append(changed, more...), err
}

func (s split) PutRecord(ctx context.Context, kind, id string, data []byte) error {
	return s.of(kind).PutRecord(ctx, kind, id, data)
}

func (s split) PutRecords(ctx context.Context, kind string, records []Record) error {
	return s.of(kind).PutRecords(ctx, kind, records)
}

func (s split) GetRecord(ctx context.Context, kind, id string) ([]byte, error) {
	return s.of(kind).GetRecord(ctx, kind, id)
}

func (s split) ListRecords(ctx context.Context, kind, prefix string) ([]Record, error) {
	return s.of(kind).ListRecords(ctx, kind, prefix)
}

func (s split) DeleteRecord(ctx context.Context, kind, id string) error {
	return s.of(kind).DeleteRecord(ctx, kind, id)
}

// Reserve implements [Reserver] for the store on disk.
func (s split) Reserve(last map[string]uint64) error {
	r, ok := s.Store.(Reserver)
	if !ok {
		return nil
	}
	last = maps.Clone(last)
	maps.DeleteFunc(last, func(name string, _ uint64) bool { return inMemory(name) })
	return r.Reserve(last)
}

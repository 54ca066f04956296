package journal

import (
	"context"
	"errors"
	"time"
)

// Store keeps blocks and records. One journal uses it at a time; its methods
// are safe for concurrent use. The suite in package journaltest states its
// contract as tests.
type Store interface {
	Records

	// AppendBlocks writes all blocks or none. The blocks of a stream are in
	// order, and start behind what is there, else the error is [ErrOutOfOrder];
	// they need not be adjacent. The store does not keep Data.
	AppendBlocks(ctx context.Context, blocks []Block) error

	// Read returns the first blocks of a stream that hold entries behind after,
	// in order: at least one if there is one, then more while limit lasts. An
	// unknown stream has none. The caller owns the result.
	Read(ctx context.Context, stream string, after uint64, limit Limit) ([]Block, error)

	// Stream returns what is known of a stream, the zero value of an unknown one.
	Stream(ctx context.Context, stream string) (StreamInfo, error)

	// Streams returns the streams whose name starts with prefix, by name.
	Streams(ctx context.Context, prefix string) ([]StreamInfo, error)

	// Delete removes a stream wholly; its numbers start again at 1. A stream that does
	// not exist is no error.
	Delete(ctx context.Context, stream string) error

	// Install renames streams, from the key to the value, and stores records by
	// kind, all or none. The new names are free; old ones that no stream has are
	// passed over.
	Install(ctx context.Context, names map[string]string, records map[string][]Record) error

	// Trim drops the oldest blocks that lie wholly outside of keep, of the streams
	// in only or, if that is nil, of all, and returns the streams that changed. The
	// numbers of a stream go on even when all its blocks are dropped. TotalBytes is
	// the journal's to keep.
	Trim(ctx context.Context, only []string, keep Retention, now time.Time) ([]StreamInfo, error)

	// Replace puts one block in the place of all those between its first and
	// last entry, and notes its end as [StreamInfo.Merged]. It does nothing unless
	// those hold exactly the same entries. Without Data it only notes the end.
	Replace(ctx context.Context, block Block) error

	// Vacuum gives room that is no longer used back to the system. Others may
	// use the store meanwhile.
	Vacuum(ctx context.Context) error

	Close() error
}

// Reserver is implemented by stores that can note, while they can store nothing
// else, up to where the numbers of streams were given to readers. When such a store
// is opened again these numbers count as used: their entries are a gap, and no
// other entry gets them.
type Reserver interface {
	// Reserve replaces what was reserved before. The store may add to last.
	Reserve(last map[string]uint64) error
}

// Damaged is implemented by stores that can go on after they have found a part of
// what they keep unreadable. Readers get a gap for it.
type Damaged interface {
	// Damage returns what was found when the store was opened.
	Damage() []Damage
}

// Damage is a part of a file that cannot be read.
type Damage struct {
	File  string
	Bytes int64
}

// Records is a small durable table next to the streams: JSON documents of other
// parts of the server, by kind and id. A record survives the death of the
// process once PutRecord has returned.
type Records interface {
	PutRecord(ctx context.Context, kind, id string, data []byte) error
	// PutRecords stores records of one kind, all or none. Updated is set by the store.
	PutRecords(ctx context.Context, kind string, records []Record) error
	// GetRecord returns a problem of the code record_not_found if there is none.
	GetRecord(ctx context.Context, kind, id string) ([]byte, error)
	// ListRecords returns the records whose id starts with prefix, by id.
	ListRecords(ctx context.Context, kind, prefix string) ([]Record, error)
	// RecordKinds returns the kinds of which there are records, in order.
	RecordKinds(ctx context.Context) ([]string, error)
	// DeleteRecord does nothing if there is no such record.
	DeleteRecord(ctx context.Context, kind, id string) error
}

// Record is a document of the table next to the streams.
type Record struct {
	ID      string
	Data    []byte
	Updated int64 // unix milliseconds
}

// StreamInfo describes what is kept of a stream. A stream whose entries were
// all dropped has First = Last + 1.
type StreamInfo struct {
	Name             string
	First, Last      uint64
	Bytes            int64  // encoded
	Created, Updated int64  // unix milliseconds
	Merged           uint64 // up to here the blocks need no merging
}

// Limit bounds a read. Both numbers are positive.
type Limit struct {
	Entries int
	Bytes   int
}

// Retention is what to keep of each stream, and of all of them together; zero
// means without limit. Streams are cut at blocks, so that up to a block more than
// this is kept of each.
type Retention struct {
	MaxAge     time.Duration
	MaxEntries int64
	MaxBytes   int64

	// TotalBytes bounds all streams together. The oldest entries of those that
	// nothing was appended to for the longest time go first.
	TotalBytes int64
}

// Drops reports whether the oldest block of a stream, of size bytes, lies wholly
// outside of the retention.
func (r Retention) Drops(s StreamInfo, last uint64, newest, size int64, now time.Time) bool {
	if r.MaxAge > 0 && newest < now.Add(-r.MaxAge).UnixMilli() {
		return true
	}
	// A block that was appended after s was read is behind its end.
	if r.MaxEntries > 0 && last < s.Last && s.Last-last >= uint64(r.MaxEntries) {
		return true
	}
	return r.MaxBytes > 0 && s.Bytes-size >= r.MaxBytes
}

// ErrOutOfOrder is what a store says of blocks it already has.
var ErrOutOfOrder = errors.New("block out of order")

// Package journal is the append-only log of everything that passes between
// agents and clients. It has streams, named by strings; the entries of a stream
// are numbered from 1 without holes, across restarts. Readers follow a stream
// from any number on, at their own speed: from memory near its end, from the
// [Store] elsewhere.
//
// One goroutine at a time writes, mostly the journal's own: as soon as anything
// is pending it takes all of it, of all streams, to the store in one transaction,
// and shows it to readers after that. So nobody sees an entry that a killed
// process could lose, and the load alone decides how large transactions are.
//
// It does not look into frames and knows nothing of sessions.
package journal

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/sandboxagent/sandboxagent/api"
)

// Options are the limits of a journal. The zero value has the defaults.
type Options struct {
	WindowBytes      int64         // kept in memory for a stream; 0 is 4 MiB
	TotalWindowBytes int64         // kept in memory for all of them; 0 is 64 MiB
	BacklogBytes     int64         // not yet written, then Append blocks; 0 is 16 MiB
	DegradedBytes    int64         // shown but not on disk while it fails; 0 is 64 MiB
	MaxFrameBytes    int64         // 0 is 64 MiB
	RetryDelay       time.Duration // before a failed store is tried again, doubled up to 16 times; 0 is 250 ms
	Retention        Retention     // what Trim keeps
	Logger           *slog.Logger  // nil logs nothing
}

func (o Options) withDefaults() Options {
	set := func(n *int64, value int64) {
		if *n <= 0 {
			*n = value
		}
	}
	set(&o.WindowBytes, 4<<20)
	set(&o.TotalWindowBytes, 64<<20)
	set(&o.BacklogBytes, 16<<20)
	set(&o.DegradedBytes, 64<<20)
	set(&o.MaxFrameBytes, 64<<20)
	if o.RetryDelay <= 0 {
		o.RetryDelay = 250 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// ErrClosed is what a closed journal answers.
var ErrClosed error = api.NewError(api.KindUnavailable, api.CodeShuttingDown, "journal is closed")

// Journal is a log on top of a store. Its methods are safe for concurrent use.
type Journal struct {
	store split
	opts  Options
	cache cache

	streamsMu sync.RWMutex
	streams   map[string]*stream

	// mu is taken inside of stream.mu, never around it.
	mu     sync.Mutex
	queue  []*stream  // have entries to write
	recent *list.List // of streams with a window, the least recently appended first
	closed bool

	admission   sync.Mutex
	room        *sync.Cond
	backlog     atomic.Int64 // bytes appended and not yet shown
	windowBytes atomic.Int64
	health      atomic.Pointer[api.Error]

	commitMu sync.Mutex // held around every transaction and by Delete
	failed   map[*stream]struct{}
	unsaved  int64 // bytes shown that are not on disk
	encoded  []byte

	reserved   map[string]uint64 // numbers that were shown up to here, by stream, while the store failed
	unreserved bool              // the store could not note them

	beforeDrop atomic.Pointer[func()]

	maintain sync.Mutex // held while blocks are merged and by Delete, around commitMu
	dropping sync.Mutex // held while a retention is applied
	freed    atomic.Int64
	imports  atomic.Int32 // under way

	committer *waker
	closing   chan struct{}
	done      chan struct{}
	once      sync.Once

	grownBytes, grownEntries int64         // since over was signalled; guarded by commitMu
	over                     chan struct{} // has room for one: a limit of size may be reached
	enforced                 chan struct{} // closed when the enforcer has ended
}

// Open starts a journal on a store, which it owns from then on.
func Open(store Store, opts Options) (*Journal, error) {
	if store == nil {
		return nil, errors.New("open journal: no store")
	}
	j := &Journal{
		store:   split{store, Memory()},
		opts:    opts.withDefaults(),
		streams: make(map[string]*stream),
		recent:  list.New(),
		failed:  make(map[*stream]struct{}),

		reserved: make(map[string]uint64),

		committer: newWaker(),
		closing:   make(chan struct{}),
		done:      make(chan struct{}),

		over:     make(chan struct{}, 1),
		enforced: make(chan struct{}),
	}
	j.room = sync.NewCond(&j.admission)
	if d, ok := store.(Damaged); ok {
		for _, found := range d.Damage() {
			j.opts.Logger.Error("a part of the journal is damaged, readers get a gap", "file", found.File, "bytes", found.Bytes)
		}
	}
	j.removeDrafts(context.Background())
	go j.run()
	go j.enforcer()
	return j, nil
}

// MaxNameBytes is how long the name of a stream may be.
const MaxNameBytes = 1024

// checkName refuses what not every store can keep.
func checkName(stream string) error {
	switch {
	case len(stream) > MaxNameBytes:
		return api.TooLarge("max_stream_name_bytes", MaxNameBytes)
	case strings.ContainsRune(stream, 0) || !utf8.ValidString(stream):
		return api.InvalidRequest(api.CodeInvalidRequest, "name of a stream is not text: %q", stream)
	}
	return nil
}

// Append adds a frame to the end of a stream and returns its number. The
// journal keeps the frame: the caller must not change it any more. Append does
// not wait for the disk, see [Journal.Wait], unless BacklogBytes are waiting to
// be written. It opens a stream again that has ended.
func (j *Journal) Append(stream string, dir Direction, frame []byte) (uint64, error) {
	return j.append(stream, dir, frame, j.admit)
}

// ErrFull is what TryAppend returns where Append would wait.
var ErrFull = errors.New("journal has too much to write")

// TryAppend is Append for those who cannot wait.
func (j *Journal) TryAppend(stream string, dir Direction, frame []byte) (uint64, error) {
	return j.append(stream, dir, frame, func(n int64) error {
		if j.full() {
			return ErrFull
		}
		j.backlog.Add(n)
		return nil
	})
}

func (j *Journal) append(stream string, dir Direction, frame []byte, admit func(int64) error) (uint64, error) {
	if dir != FromAgent && dir != FromClient {
		return 0, fmt.Errorf("append to %s: unknown direction %q", stream, dir)
	}
	if int64(len(frame)) > j.opts.MaxFrameBytes {
		return 0, api.TooLarge("maxFrameBytes", j.opts.MaxFrameBytes)
	}
	if err := checkName(stream); err != nil {
		return 0, err
	}
	e := Entry{Dir: dir, Frame: frame}
	if err := admit(cost(e)); err != nil {
		return 0, err
	}
	for {
		s, err := j.stream(context.Background(), stream)
		if err != nil {
			j.release(cost(e))
			return 0, err
		}
		seq, err := j.appendTo(s, e)
		if errors.Is(err, errDeleted) {
			continue
		}
		if err != nil {
			j.release(cost(e))
		}
		return seq, err
	}
}

// errDeleted means that the stream has to be looked up again.
var errDeleted = errors.New("stream deleted")

func (j *Journal) appendTo(s *stream, e Entry) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted {
		return 0, errDeleted
	}
	if !s.queued {
		if !j.enqueue(s) {
			return 0, ErrClosed
		}
		s.queued, s.hurried = true, false
	}
	if e.Dir == FromAgent || s.changed.awaited() {
		j.hurryUnlessHeld(s)
	} else if !s.hurried {
		j.committer.wakeAfter(clientDelay)
	}
	s.last++
	s.ended = false
	e.Seq, e.Time = s.last, time.Now().UnixMilli()
	s.window.append(e)
	j.windowBytes.Add(cost(e))
	return e.Seq, nil
}

// enqueue hands a stream to the committer. It reports false once the journal
// is closed: what is queued before that is still written.
func (j *Journal) enqueue(s *stream) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	j.queue = append(j.queue, s)
	if s.recent == nil {
		s.recent = j.recent.PushBack(s)
	} else {
		j.recent.MoveToBack(s.recent)
	}
	return true
}

// clientDelay is how long a frame of a client is left in the queue when nobody
// waits for it. The answer of the agent mostly comes before, and then both
// share a transaction, which is the larger part of what a round trip costs.
const clientDelay = 5 * time.Millisecond

// hurry wakes the committer for a stream that is queued, once. A hold may have
// kept it asleep before.
func (j *Journal) hurry(s *stream) {
	if !s.hurried || j.committer.held() {
		s.hurried = true
		j.committer.wake()
	}
}

// hurryUnlessHeld leaves it to [Journal.Release] where there is a hold.
func (j *Journal) hurryUnlessHeld(s *stream) {
	if !s.hurried {
		s.hurried = true
		j.committer.wakeUnlessHeld()
	}
}

// wait returns a channel to wait on for a change of a stream, of which nothing
// is left in the queue for later. The stream's mu is held.
func (j *Journal) wait(s *stream) <-chan struct{} {
	if s.queued {
		j.hurry(s)
	}
	return s.changed.wait()
}

func (j *Journal) full() bool { return j.backlog.Load() > j.opts.BacklogBytes }

// admit waits until there is room.
func (j *Journal) admit(n int64) error {
	if j.full() {
		j.committer.wake() // a hold may have kept it asleep
		j.admission.Lock()
		for j.full() && !j.isClosed() {
			j.room.Wait()
		}
		j.admission.Unlock()
		if j.isClosed() {
			return ErrClosed
		}
	}
	j.backlog.Add(n)
	return nil
}

func (j *Journal) release(n int64) {
	before := j.backlog.Add(-n) + n
	if before > j.opts.BacklogBytes {
		j.admission.Lock()
		j.room.Broadcast()
		j.admission.Unlock()
	}
}

func (j *Journal) isClosed() bool {
	select {
	case <-j.closing:
		return true
	default:
		return false
	}
}

// Wait returns once an entry that was appended is on disk. While the store fails it returns what
// [Journal.Health] says instead.
func (j *Journal) Wait(ctx context.Context, stream string, seq uint64) error {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return err
	}
	for {
		wake, err := j.waitFor(s, seq)
		if wake == nil {
			return err
		}
		ended := error(nil)
		select {
		case <-wake:
			continue
		case <-ctx.Done():
			ended = ctx.Err()
		case <-j.done:
			ended = ErrClosed
		}
		if wake, err := j.waitFor(s, seq); wake == nil {
			return err
		}
		return ended
	}
}

// waitFor returns a channel to wait on, or none when the answer is known.
func (j *Journal) waitFor(s *stream, seq uint64) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, lost := s.lostAt(seq)
	switch {
	case s.deleted, seq > s.last: // of a stream that had this name before
		return nil, api.NewError(api.KindNotFound, api.CodeStreamDeleted, "stream %s", s.name)
	case lost:
		return nil, api.NewError(api.KindUnavailable, api.CodeStorageFailed, "entry %d of %s was never stored", seq, s.name)
	case s.durable >= seq:
		return nil, nil
	case s.published >= seq:
		if err := j.Health(); err != nil {
			return nil, err
		}
	}
	return j.wait(s), nil
}

// Health returns nil, or, while the store fails, a problem of the code
// storage_failed, data_corrupt or data_locked.
func (j *Journal) Health() error {
	if e := j.health.Load(); e != nil {
		return e
	}
	return nil
}

// Last returns the number of the last entry appended to a stream, whether or
// not readers see it yet; 0 if there is none.
func (j *Journal) Last(stream string) (uint64, error) {
	s, err := j.stream(context.Background(), stream)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// Shown returns the number of the last entry that readers can get of a stream in
// memory; ok is false for one that this journal has not touched.
func (j *Journal) Shown(stream string) (last uint64, ok bool) {
	j.streamsMu.RLock()
	s := j.streams[stream]
	j.streamsMu.RUnlock()
	if s == nil || !s.loaded.Load() {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published, true
}

// Bounds returns the numbers of the first and last entry that readers can get.
// Without any, first is last + 1.
func (j *Journal) Bounds(stream string) (first, last uint64, err error) {
	s, err := j.stream(context.Background(), stream)
	if err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, s.published, nil
}

// End says that nothing more is to come: readers that have all get [io.EOF].
// It is forgotten when the journal closes.
func (j *Journal) End(stream string) {
	s, err := j.stream(context.Background(), stream)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.changed.wake()
}

// Delete removes a stream. Its readers get [io.EOF]; the next Append starts it
// again from 1.
func (j *Journal) Delete(ctx context.Context, stream string) error {
	j.maintain.Lock()
	defer j.maintain.Unlock()
	j.commitMu.Lock()
	defer j.commitMu.Unlock()
	if info, err := j.store.Stream(ctx, stream); err == nil {
		j.freed.Add(info.Bytes)
	}
	if err := j.store.Delete(ctx, stream); err != nil {
		return fmt.Errorf("delete stream %s: %w", stream, err)
	}
	j.discard(stream)
	return nil
}

// discard lets go of what is in memory of a stream that the store has no more under
// this name. commitMu is held.
func (j *Journal) discard(stream string) {
	j.streamsMu.Lock()
	s := j.streams[stream]
	delete(j.streams, stream)
	j.streamsMu.Unlock()
	if s != nil {
		j.forget(s)
	}
}

func (j *Journal) forget(s *stream) {
	s.mu.Lock()
	waiting := s.unpublished(s.last)
	s.deleted = true
	j.unsaved -= s.unsaved
	delete(j.failed, s)
	j.windowBytes.Add(-s.window.bytes)
	s.window = window{}
	s.changed.wake()
	s.mu.Unlock()

	j.release(waiting)
	j.cache.drop(s)
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.recent != nil {
		j.recent.Remove(s.recent)
		s.recent = nil
	}
}

// Streams returns the streams whose name starts with prefix, by name.
func (j *Journal) Streams(ctx context.Context, prefix string) ([]StreamInfo, error) {
	infos, err := j.store.Streams(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	index := make(map[string]int, len(infos))
	for i, info := range infos {
		index[info.Name] = i
	}
	j.streamsMu.RLock()
	defer j.streamsMu.RUnlock()
	for name, s := range j.streams {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		i, stored := index[name]
		if !stored {
			i = len(infos)
			infos = append(infos, StreamInfo{Name: name})
		}
		if !s.describe(&infos[i]) && !stored {
			infos = infos[:i]
		}
	}
	slices.SortFunc(infos, func(a, b StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Ending notes in the store that Close is about to be called, if the store can tell
// those who wait for it.
func (j *Journal) Ending() error { return j.store.Ending() }

// ender is implemented by stores that others wait for when they are about to close.
type ender interface{ Ending() error }

// Close writes what is pending, ends all readers and closes the store.
func (j *Journal) Close() error {
	err := ErrClosed
	j.once.Do(func() {
		j.mu.Lock()
		j.closed = true
		j.mu.Unlock()
		close(j.closing)
		j.admission.Lock()
		j.room.Broadcast()
		j.admission.Unlock()
		<-j.done
		<-j.enforced
		err = errors.Join(j.Health(), j.store.Close())
	})
	return err
}

// PutRecord stores a document; it is durable when PutRecord returns. This and
// the other calls for documents give a problem of the code storage_failed,
// data_corrupt or data_locked when the store fails.
func (j *Journal) PutRecord(ctx context.Context, kind, id string, data []byte) error {
	return recordError(ctx, j.store.PutRecord(ctx, kind, id, data))
}

// PutRecords stores documents of one kind, all or none.
func (j *Journal) PutRecords(ctx context.Context, kind string, records []Record) error {
	return recordError(ctx, j.store.PutRecords(ctx, kind, records))
}

// GetRecord returns a document, or a problem of the code record_not_found.
func (j *Journal) GetRecord(ctx context.Context, kind, id string) ([]byte, error) {
	data, err := j.store.GetRecord(ctx, kind, id)
	return data, recordError(ctx, err)
}

// ListRecords returns the documents of a kind whose id starts with prefix.
func (j *Journal) ListRecords(ctx context.Context, kind, prefix string) ([]Record, error) {
	list, err := j.store.ListRecords(ctx, kind, prefix)
	return list, recordError(ctx, err)
}

// RecordKinds returns the kinds of which there are documents, in order.
func (j *Journal) RecordKinds(ctx context.Context) ([]string, error) {
	kinds, err := j.store.RecordKinds(ctx)
	return kinds, recordError(ctx, err)
}

// DeleteRecord removes a document if it is there.
func (j *Journal) DeleteRecord(ctx context.Context, kind, id string) error {
	return recordError(ctx, j.store.DeleteRecord(ctx, kind, id))
}

func recordError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, api.CodeRecordNotFound) {
		return err
	}
	return storageError("%w", err)
}

var _ Records = (*Journal)(nil)

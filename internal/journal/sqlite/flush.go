package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite/tail"
)

// tuning is when the tail goes to SQLite.
type tuning struct {
	every time.Duration // after the first block that waits
	full  int64         // bytes that wait, then at once
	bound int64         // bytes that wait, then AppendBlocks waits too
	retry time.Duration // after a failure, doubled up to 16 times
	join  bool          // small blocks, so that fewer rows are written
}

var defaultTuning = tuning{every: 100 * time.Millisecond, full: 1 << 20, bound: 8 << 20, retry: 250 * time.Millisecond, join: true}

// mover is what AppendBlocks has written and SQLite may not have yet. One of two
// files takes what comes while the other goes to SQLite. Page 4 of docs/design
// says why there is one.
type mover struct {
	tuning

	// flushing is held while blocks go to SQLite, around mu.
	flushing sync.Mutex

	mu     sync.Mutex
	files  *tail.Tail        // nil once closed
	ends   map[string]uint64 // last entries of streams, some of them
	failed error             // of the last flush
	tried  chan struct{}     // closed after the next flush

	wake chan struct{} // something waits
	soon chan struct{} // too much waits
	stop chan struct{}
	done chan struct{} // nil unless the flusher runs
}

// openTail reads what a process that was killed has left.
func (s *Store) openTail(ctx context.Context) error {
	s.tail.ends = make(map[string]uint64)
	s.tail.tried = make(chan struct{})
	s.tail.wake, s.tail.soon, s.tail.stop = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	files, err := tail.Open(s.path)
	if err != nil {
		return err
	}
	s.tail.files, s.damage = files, files.Damage()
	err = files.Load(func(b journal.Block) (bool, error) {
		end, err := s.end(ctx, b.Stream)
		if err != nil || b.First <= end {
			return false, err
		}
		s.tail.ends[b.Stream] = b.Last
		return true, nil
	})
	if err != nil {
		return err
	}
	reserved, err := tail.OpenReservation(s.path)
	if err != nil {
		return err
	}
	s.reserved = reserved
	clear(s.tail.ends) // they were without what is reserved
	if !files.Empty() || len(s.reserved.Found) > 0 {
		signal(s.tail.wake)
	}
	s.tail.done = make(chan struct{})
	go s.flusher()
	return nil
}

// end returns the number of the last entry of a stream.
func (s *Store) end(ctx context.Context, stream string) (uint64, error) {
	if end, ok := s.tail.ends[stream]; ok {
		return end, nil
	}
	info, err := s.stored(ctx, stream)
	if err != nil {
		return 0, err
	}
	info.Last = max(info.Last, s.tail.files.Last(stream), s.reserved.Found[stream])
	if len(s.tail.ends) >= maxKnown {
		clear(s.tail.ends)
	}
	s.tail.ends[stream] = info.Last
	return info.Last, nil
}

// AppendBlocks writes blocks to the tail. It waits for SQLite only if that is
// far behind.
func (s *Store) AppendBlocks(ctx context.Context, blocks []journal.Block) error {
	if err := ctx.Err(); err != nil || len(blocks) == 0 {
		return err
	}
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if err := s.waitForRoom(ctx); err != nil {
		return err
	}
	err := s.present()
	if err == nil {
		err = s.follow(ctx, blocks)
	}
	if err == nil {
		err = s.appendTail(blocks)
	}
	if err != nil {
		for i := range blocks {
			delete(s.tail.ends, blocks[i].Stream)
		}
	}
	return err
}

// waitForRoom is called with mu held.
func (s *Store) waitForRoom(ctx context.Context) (err error) {
	for err == nil {
		if s.tail.files == nil {
			return os.ErrClosed
		}
		if s.tail.files.Bytes() <= s.tail.bound {
			return nil
		}
		if s.tail.failed != nil {
			return s.tail.failed
		}
		signal(s.tail.soon)
		tried := s.tail.tried
		s.tail.mu.Unlock()
		select {
		case <-tried:
		case <-s.tail.stop:
			err = os.ErrClosed
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.tail.mu.Lock()
	}
	return err
}

// follow checks that blocks start behind what is there, and notes their ends.
func (s *Store) follow(ctx context.Context, blocks []journal.Block) error {
	for i := range blocks {
		b := &blocks[i]
		end, err := s.end(ctx, b.Stream)
		if err == nil && b.First <= end {
			err = journal.ErrOutOfOrder
		}
		if err != nil {
			return fmt.Errorf("append to %s: %w", b.Stream, err)
		}
		s.tail.ends[b.Stream] = b.Last
	}
	return nil
}

func (s *Store) appendTail(blocks []journal.Block) error {
	active := s.tail.files.Active()
	first := active.Empty()
	if err := s.tail.files.Append(blocks); err != nil {
		return err
	}
	if first {
		signal(s.tail.wake)
	}
	if active.Bytes() >= s.tail.full {
		signal(s.tail.soon)
	}
	return nil
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// flusher moves blocks to SQLite until the store closes.
func (s *Store) flusher() {
	defer close(s.tail.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.tail.wake:
		case <-s.tail.stop:
			return
		}
		delay, soon := s.tail.every, s.tail.soon
		pause := backoff.ExponentialBackOff{InitialInterval: s.tail.retry, Multiplier: 2, MaxInterval: 16 * s.tail.retry}
		for {
			timer.Reset(delay)
			select {
			case <-timer.C:
			case <-soon:
			case <-s.tail.stop:
				return
			}
			if s.flush(s.tail.join) == nil {
				break
			}
			// What failed is not tried more often because more is waiting.
			delay, soon = pause.NextBackOff(), nil
		}
	}
}

// flush moves to SQLite everything that was appended before, with small blocks
// joined or as they are.
func (s *Store) flush(join bool) error {
	s.tail.flushing.Lock()
	defer s.tail.flushing.Unlock()
	s.tail.mu.Lock()
	files := s.tail.files
	if files == nil {
		s.tail.mu.Unlock()
		return os.ErrClosed
	}
	idle := files.Idle()
	s.tail.mu.Unlock()
	err := s.empty(idle, join)
	if err == nil {
		s.tail.mu.Lock()
		filled := files.Active()
		some := !filled.Empty()
		if some {
			files.Swap()
		}
		s.tail.mu.Unlock()
		// Without the swap, blocks may be appended to it from now on.
		if some {
			err = s.empty(filled, join)
		}
	}
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if err == nil {
		err = s.keepReserved()
	}
	s.tail.failed = err
	close(s.tail.tried)
	s.tail.tried = make(chan struct{})
	return err
}

// empty moves a file of the tail to SQLite to which nothing is appended.
func (s *Store) empty(f *tail.File, join bool) error {
	if f.Empty() {
		return nil
	}
	if err := s.insertRuns(f.Runs(), join); err != nil {
		return err
	}
	s.tail.mu.Lock()
	f.Forget()
	s.tail.mu.Unlock()
	// If this fails, it is done before the next record is written.
	_ = f.Clean()
	return nil
}

// waitingOf returns the blocks of a stream that SQLite may not have. Who reads
// SQLite after that misses none.
func (s *Store) waitingOf(stream string) []journal.Block {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.files == nil {
		return nil
	}
	return s.tail.files.Blocks(stream)
}

// allWaiting returns the blocks of all streams that SQLite may not have.
func (s *Store) allWaiting() map[string][]journal.Block {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.files == nil {
		return nil
	}
	return s.tail.files.All()
}

// extend brings what SQLite knows of a stream up to the blocks that wait.
func extend(info *journal.StreamInfo, blocks []journal.Block) {
	for _, b := range blocks {
		if b.First <= info.Last {
			continue
		}
		if info.Last == 0 {
			info.Name, info.Created = b.Stream, b.Oldest
		}
		if info.First > info.Last || info.Last == 0 {
			info.First = b.First
		}
		info.Last, info.Updated = b.Last, b.Newest
		info.Bytes += int64(len(b.Data))
	}
}

// insertRuns moves blocks to SQLite in one transaction.
func (s *Store) insertRuns(runs []*tail.Run, join bool) error {
	ctx := context.Background()
	joined := make([][]journal.Block, len(runs))
	for i, r := range runs {
		joined[i] = r.Blocks
		if join {
			joined[i] = journal.Join(r.Blocks)
		}
	}
	return s.transact(ctx, func() error {
		for _, blocks := range joined {
			if err := s.insertRun(ctx, blocks); err != nil {
				return fmt.Errorf("append to %s: %w", blocks[0].Stream, err)
			}
		}
		return nil
	})
}

// insertRun writes blocks of one stream, without those that are there.
func (s *Store) insertRun(ctx context.Context, blocks []journal.Block) error {
	stream, err := s.writerStream(ctx, &blocks[0])
	if err != nil {
		return err
	}
	for len(blocks) > 0 && blocks[0].First <= stream.last {
		blocks = blocks[1:]
	}
	if len(blocks) == 0 {
		return nil
	}
	var size int64
	for i := range blocks {
		b := &blocks[i]
		size += int64(len(b.Data))
		if _, err := s.insert.ExecContext(ctx, stream.id, b.First, b.Last, b.Oldest, b.Newest, b.Data); err != nil {
			return err
		}
	}
	head, end := &blocks[0], &blocks[len(blocks)-1]
	if _, err := s.update.ExecContext(ctx, head.First, end.Last, size, end.Newest, stream.id); err != nil {
		return err
	}
	stream.last = end.Last
	s.known[head.Stream] = stream
	return nil
}

// withoutTail runs do, which takes away or renames what there is of streams, with
// nothing in either file: what is read there after a crash must not bring it back.
// Appending waits meanwhile.
func (s *Store) withoutTail(do func() error) error {
	s.tail.flushing.Lock()
	defer s.tail.flushing.Unlock()
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.files == nil {
		return os.ErrClosed
	}
	for _, f := range s.tail.files.Files() {
		if !f.Empty() {
			if err := s.insertRuns(f.Runs(), false); err != nil {
				return err
			}
			f.Forget()
		}
		if err := f.Clean(); err != nil {
			return err
		}
	}
	if err := s.keepReserved(); err != nil {
		return err
	}
	clear(s.tail.ends)
	return do()
}

// closeTail ends the flusher and moves what is left to SQLite. The files go
// too, unless something of them could not be moved, or the store could not be
// opened: then it may not have taken everything out of them.
func (s *Store) closeTail() error {
	var errs []error
	opened := s.tail.done != nil
	if opened {
		close(s.tail.stop)
		<-s.tail.done
		s.tail.done = nil
		errs = append(errs, s.flush(false))
	}
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.files != nil {
		errs = append(errs, s.tail.files.Close())
		if opened && errors.Join(errs...) == nil {
			errs = append(errs, s.tail.files.RemoveEmpty())
		}
		s.tail.files = nil
	}
	return errors.Join(append(errs, s.reserved.Close())...)
}

package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// The file of reservations says how far the numbers of streams were given to
// readers while the disk was full. Its room is taken when the store is opened,
// since there is none to be had then. It has two slots, written in turns, so that
// one is whole whenever the process is killed: the length and the CRC-32C of the
// rest, four bytes each, the number of the writing, and a name and a number for
// each stream up to the end.
const (
	reserveSuffix = "-reserved"
	reserveSlot   = 32 << 10
)

// reservation is the file.
type reservation struct {
	file   *os.File // nil where it could not be made
	writes uint64
	found  map[string]uint64 // when the store was opened, and not in SQLite yet
}

// openReservation returns what is reserved. Without room on the disk there is no
// file, which is no reason for a journal not to open.
func openReservation(path string) (*reservation, error) {
	file, err := os.OpenFile(path+reserveSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return &reservation{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open reservations: %w", err)
	}
	r := &reservation{file: file}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read reservations: %w", err), file.Close())
	}
	for slot := 0; slot+reserveSlot <= len(data); slot += reserveSlot {
		last, writes, ok := decodeReservation(data[slot : slot+reserveSlot])
		if ok && writes > r.writes {
			r.writes, r.found = writes, last
		}
	}
	if len(data) < 2*reserveSlot {
		// Where this fails for lack of room, so does a write, until there is some.
		_, _ = file.WriteAt(make([]byte, 2*reserveSlot-len(data)), int64(len(data)))
	}
	return r, nil
}

// write replaces what is reserved. What does not fit is left out.
func (r *reservation) write(last map[string]uint64) error {
	if r.file == nil {
		return fmt.Errorf("write reservations: %w", syscall.ENOSPC)
	}
	record := encodeReservation(last, r.writes+1)
	if _, err := r.file.WriteAt(record, int64((r.writes+1)%2)*reserveSlot); err != nil {
		return fmt.Errorf("write reservations: %w", err)
	}
	r.writes++
	return nil
}

func encodeReservation(last map[string]uint64, writes uint64) []byte {
	buf := binary.AppendUvarint(make([]byte, tailHead, 1<<10), writes)
	for name, number := range last {
		if len(buf)+len(name)+2*binary.MaxVarintLen64 > reserveSlot {
			break
		}
		buf = binary.AppendUvarint(buf, uint64(len(name)))
		buf = append(buf, name...)
		buf = binary.AppendUvarint(buf, number)
	}
	binary.LittleEndian.PutUint32(buf, uint32(len(buf)-tailHead))
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(buf[tailHead:], castagnoli))
	return buf
}

func decodeReservation(slot []byte) (last map[string]uint64, writes uint64, ok bool) {
	if len(slot) < tailHead {
		return nil, 0, false
	}
	n := uint64(binary.LittleEndian.Uint32(slot))
	if n > uint64(len(slot)-tailHead) {
		return nil, 0, false
	}
	body := slot[tailHead : tailHead+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(slot[4:]) {
		return nil, 0, false
	}
	d := decoder{rest: body}
	writes = d.uvarint()
	last = make(map[string]uint64)
	for len(d.rest) > 0 && !d.bad {
		name := string(d.bytes())
		last[name] = d.uvarint()
	}
	return last, writes, !d.bad && writes > 0
}

// Reserve notes, also on a full disk, up to where numbers of streams were given
// to readers although their entries are not stored. It replaces what was reserved
// before.
func (s *Store) Reserve(last map[string]uint64) error {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.halves[0] == nil {
		return os.ErrClosed
	}
	for name, number := range s.reserved.found {
		last[name] = max(last[name], number)
	}
	return s.reserved.write(last)
}

// reservedOf brings what is stored of a stream, tail included, up to the numbers
// that were found reserved. The caller holds the mu of the tail.
func (s *Store) reservedOf(name string, info *journal.StreamInfo) {
	number, ok := s.reserved.found[name]
	if !ok || number <= info.Last {
		return
	}
	if info.First > info.Last || info.Last == 0 {
		info.Name, info.First = name, number+1
	}
	info.Last = number
}

// withReserved is reservedOf for all streams whose name starts with prefix.
func (s *Store) withReserved(list []journal.StreamInfo, prefix string) []journal.StreamInfo {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	listed := make(map[string]bool)
	for i := range list {
		s.reservedOf(list[i].Name, &list[i])
		listed[list[i].Name] = true
	}
	for name := range s.reserved.found {
		if strings.HasPrefix(name, prefix) && !listed[name] {
			var info journal.StreamInfo
			s.reservedOf(name, &info)
			list = append(list, info)
		}
	}
	return list
}

// keepReserved moves the numbers that were found reserved to SQLite, which has
// all that was in the tail when they were found. The caller holds the mu of the
// tail.
func (s *Store) keepReserved() error {
	if len(s.reserved.found) == 0 {
		return nil
	}
	ctx := context.Background()
	now := time.Now().UnixMilli()
	err := s.transact(ctx, func() error {
		clear(s.known)
		for name, number := range s.reserved.found {
			_, err := s.conn.ExecContext(ctx, `
				INSERT INTO streams (name, first, last, bytes, created, updated) VALUES (?1, ?2 + 1, ?2, 0, ?3, ?3)
				ON CONFLICT (name) DO UPDATE SET first = iif(first > last, ?2 + 1, first), last = ?2 WHERE last < ?2`,
				name, number, now)
			if err != nil {
				return fmt.Errorf("keep numbers of %s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.reserved.found = nil
	return s.reserved.write(nil)
}

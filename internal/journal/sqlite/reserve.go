package sqlite

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// Reserve notes, also on a full disk, up to where numbers of streams were given
// to readers although their entries are not stored. It replaces what was reserved
// before.
func (s *Store) Reserve(last map[string]uint64) error {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.files == nil {
		return os.ErrClosed
	}
	for name, number := range s.reserved.Found {
		last[name] = max(last[name], number)
	}
	return s.reserved.Write(last)
}

// reservedOf brings what is stored of a stream, tail included, up to the numbers
// that were found reserved. The caller holds the mu of the tail.
func (s *Store) reservedOf(name string, info *journal.StreamInfo) {
	number, ok := s.reserved.Found[name]
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
	for name := range s.reserved.Found {
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
	if len(s.reserved.Found) == 0 {
		return nil
	}
	ctx := context.Background()
	now := time.Now().UnixMilli()
	err := s.transact(ctx, func() error {
		clear(s.known)
		for name, number := range s.reserved.Found {
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
	s.reserved.Found = nil
	return s.reserved.Write(nil)
}

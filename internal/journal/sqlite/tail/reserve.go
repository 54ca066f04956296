package tail

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The file of reservations says how far the numbers of streams were given to
// readers while the disk was full. Its room is taken when the store is opened,
// since there is none to be had then. It has two slots, written in turns, so that
// one is whole whenever the process is killed: a head, the number of the writing,
// and a name and a number for each stream up to the end.
const (
	// ReserveSuffix names the file of reservations, after the name of the SQLite file.
	ReserveSuffix = "-reserved"
	reserveSlot   = 32 << 10
)

// Reservation is the file. The zero value has none, and reserves nothing.
type Reservation struct {
	file   *os.File // nil where it could not be made
	writes uint64
	Found  map[string]uint64 // when the store was opened, and not in SQLite yet
}

// OpenReservation returns what is reserved. Without room on the disk there is no
// file, which is no reason for a journal not to open.
func OpenReservation(path string) (*Reservation, error) {
	file, err := os.OpenFile(path+ReserveSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return &Reservation{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open reservations: %w", err)
	}
	r := &Reservation{file: file}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read reservations: %w", err), file.Close())
	}
	for slot := 0; slot+reserveSlot <= len(data); slot += reserveSlot {
		last, writes, ok := decodeReservation(data[slot : slot+reserveSlot])
		if ok && writes > r.writes {
			r.writes, r.Found = writes, last
		}
	}
	if len(data) < 2*reserveSlot {
		// Where this fails for lack of room, so does a write, until there is some.
		_, _ = file.WriteAt(make([]byte, 2*reserveSlot-len(data)), int64(len(data)))
	}
	return r, nil
}

// Close closes the file, which stays where it is. Nothing is reserved after it.
func (r *Reservation) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Write replaces what is reserved. What does not fit is left out.
func (r *Reservation) Write(last map[string]uint64) error {
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
	buf := binary.AppendUvarint(make([]byte, headSize, 1<<10), writes)
	for name, number := range last {
		if len(buf)+len(name)+2*binary.MaxVarintLen64 > reserveSlot {
			break
		}
		buf = binary.AppendUvarint(buf, uint64(len(name)))
		buf = append(buf, name...)
		buf = binary.AppendUvarint(buf, number)
	}
	seal(buf)
	return buf
}

func decodeReservation(slot []byte) (last map[string]uint64, writes uint64, ok bool) {
	body, ok := unseal(slot)
	if !ok {
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

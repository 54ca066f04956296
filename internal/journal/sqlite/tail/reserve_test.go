package tail

import (
	"maps"
	"path/filepath"
	"testing"
)

// TestReservationSurvivesATornWrite damages the newer of the two slots.
func TestReservationSurvivesATornWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	r, err := OpenReservation(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(5) {
		if err := r.Write(map[string]uint64{"a": n}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.file.WriteAt([]byte{0xff}, int64(r.writes%2)*reserveSlot+headSize+2); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r, err = OpenReservation(path)
	if err != nil || r.Found["a"] != 3 {
		t.Errorf("%v, %v; want the one before", r.Found, err)
	}
	r.Close()
}

func FuzzReservation(f *testing.F) {
	f.Add(encodeReservation(map[string]uint64{"a": 1, "": 1 << 60}, 3))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, slot []byte) {
		last, writes, ok := decodeReservation(slot)
		if !ok {
			return
		}
		again, same, ok := decodeReservation(encodeReservation(last, writes))
		if len(slot) <= reserveSlot && (!ok || same != writes || !maps.Equal(again, last)) {
			t.Errorf("%v became %v", last, again)
		}
	})
}

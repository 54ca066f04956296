package server

import "testing"

func TestQuiet(t *testing.T) {
	var q quiet
	for i, step := range []struct {
		allocated uint64 // since the step before
		want      bool
	}{
		{4 << 20, false},   // the start
		{100 << 10, true},  // no more
		{100 << 10, false}, // nothing to give back
		{50 << 20, false},  // busy
		{100 << 10, true},  // no more
		{100 << 10, false}, // nothing to give back
		{1 << 20, false},   // a little busy
		{1 << 20, false},
		{7 << 20, false},
		{0, true},
	} {
		allocated := q.last + step.allocated
		if got := q.over(allocated); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if a, b := allocated(), allocated(); a == 0 || b < a {
		t.Errorf("allocated %d, then %d", a, b)
	}
}

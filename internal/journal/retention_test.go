package journal

import (
	"testing"
	"time"
)

// TestRetentionDropsNothingBehindTheEnd looks at blocks that were appended while a
// retention is applied, to a stream that was read before.
func TestRetentionDropsNothingBehindTheEnd(t *testing.T) {
	before := StreamInfo{First: 1, Last: 500, Bytes: 5000}
	for _, keep := range []Retention{{MaxEntries: 1}, {MaxEntries: 300}, {MaxBytes: 5000}, {MaxAge: time.Hour}} {
		for last := before.Last; last <= before.Last+1000; last += 100 {
			if keep.Drops(before, last, time.Now().UnixMilli(), 10, time.Now()) {
				t.Errorf("%+v drops a block that ends with %d of a stream that ended with %d", keep, last, before.Last)
			}
		}
	}
}

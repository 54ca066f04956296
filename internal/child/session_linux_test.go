package child

import (
	"fmt"
	"testing"
)

func FuzzParseStat(f *testing.F) {
	f.Add("sh", 1, 2)
	f.Add("a) Z 1 (b", 10, 20)
	f.Add("", 0, 0)
	f.Fuzz(func(t *testing.T, name string, parent, session int) {
		line := fmt.Sprintf("7 (%s) S %d 5 %d 0 -1", name, parent, session)
		if e, ok := parseStat(7, []byte(line)); !ok || e != (entry{7, parent, session}) {
			t.Errorf("%q gives %+v, %v", line, e, ok)
		}
		parseStat(7, []byte(name)) // must not panic
	})
}

package tree

import (
	"fmt"
	"testing"
)

func FuzzParseStat(f *testing.F) {
	f.Add("sh", 1, 2)
	f.Add("a) Z 1 (b", 10, 20)
	f.Add("", 0, 0)
	f.Fuzz(func(t *testing.T, name string, parent, session int) {
		line := fmt.Sprintf("7 (%s) S %d 5 %d 0 -1 4194560 106 0 0 0 0 0 0 0 20 0 1 0 8877 10 20", name, parent, session)
		want := Process{PID: 7, Parent: parent, Session: session, State: 'S', Start: 8877}
		if p, ok := parseStat(7, []byte(line)); !ok || p != want {
			t.Errorf("%q gives %+v, %v", line, p, ok)
		}
		parseStat(7, []byte(name)) // must not panic
	})
}

package testkit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

func TestEvents(t *testing.T) {
	const stream = ": heartbeat\n\nevent: a\nid: 7\ndata: {\"x\": 1}\n\n: heartbeat\n\ndata: only\n\nevent: b\nid: 8\ndata: cut off\n"
	want := []testkit.Event{{Name: "a", ID: 7, Data: `{"x": 1}`}, {Data: "only"}}
	if got := slices.Collect(testkit.Events(strings.NewReader(stream))); !slices.Equal(got, want) {
		t.Errorf("events %+v, want %+v", got, want)
	}
	for e := range testkit.Events(strings.NewReader(stream)) {
		if e != want[0] {
			t.Errorf("the loop goes on to %+v", e)
		}
		break
	}
}

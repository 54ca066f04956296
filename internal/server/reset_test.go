package server_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
)

func TestReadersAheadOfTheLastEventAreTakenBack(t *testing.T) {
	in := start(t, app.Config{})
	in.mockSession(t, "conn")
	session := in.create(t, "")
	ahead := uint64(1 << 40)
	for _, path := range []string{"/v1/acp/conn", "/v1/sessions/" + session.ID + "/events/stream"} {
		events := in.events(t, path, &ahead, nil, func(event) bool { return true })
		var reset api.Reset
		if len(events) != 1 || events[0].Name != "reset" || json.Unmarshal([]byte(events[0].Data), &reset) != nil {
			t.Fatalf("%s: %+v, want a reset", path, events)
		}
		if reset.Cursor != ahead || reset.Last == 0 || events[0].ID != reset.Last {
			t.Errorf("%s: event %d, %+v", path, events[0].ID, reset)
		}
		// From there on the stream goes on as for any other reader.
		again := in.events(t, path, new(reset.Last-1), nil, func(event) bool { return true })
		if len(again) != 1 || again[0].ID != reset.Last || again[0].Name == "reset" {
			t.Errorf("%s: %+v behind %d", path, again, reset.Last-1)
		}
	}
	in.run(t, []scenario{{
		name: "page ahead", path: fmt.Sprintf("/v1/sessions/%s/events?after=%d", session.ID, ahead), status: 200,
		want: []string{`"events":[]`, fmt.Sprintf(`"reset":{"cursor":%d,"last":`, ahead)},
	}})
}

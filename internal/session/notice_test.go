package session

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// What an agent lacks is an event of the session, by the server, each time that the
// agent is started without it.
func TestSessionSaysWhatItsAgentLacks(t *testing.T) {
	lacks := []api.SessionNotice{
		{About: api.NoticeMCP, Name: "files", Text: "its program is not found"},
		{About: api.NoticeSkills, Text: "the source is not found"},
	}
	m, stop := stoppedSession(t, openers{lacks: lacks}, nil)
	defer stop()
	if _, err := m.Restore(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	list, err := m.Events(t.Context(), "s", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var told []api.SessionNotice
	for _, e := range list.Events {
		var frame struct {
			Method string
			Params api.SessionNotice
		}
		if json.Unmarshal(e.Payload, &frame) == nil && frame.Method == api.EventSessionNotice {
			told = append(told, frame.Params)
			if e.Sender != api.SenderServer {
				t.Errorf("%s tells of it", e.Sender)
			}
		}
	}
	if !slices.Equal(told, lacks) {
		t.Errorf("the session says %+v", told)
	}
}

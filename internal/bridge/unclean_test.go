package bridge_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// TestAnswerIsFoundInAnUncleanLine has an agent write something before and behind
// its answer, on the same line.
func TestAnswerIsFoundInAnUncleanLine(t *testing.T) {
	for name, around := range map[string][2]string{
		"byte order mark":         {"\ufeff", ""},
		"colour":                  {"\x1b[0m", "\x1b[0m"},
		"colour of many":          {"\x1b[38;5;12m", "\x1b[1;31m"},
		"cursor and erase":        {"\x1b[2K\x1b[1G\x1b[?25l", "\x1b[?25h"},
		"title":                   {"\x1b]0;the agent\x07", ""},
		"title, ended by ST":      {"\x1b]0;the agent\x1b\\", ""},
		"reset":                   {"\x1bc", ""},
		"character set":           {"\x1b(B", "\x1b(B"},
		"control characters":      {"\x00\x07\b", "\x00"},
		"control of eight bits":   {"\u009b", ""},
		"mark and colour":         {"\ufeff\x1b[0m", " \x1b[0m "},
		"carriage return, blanks": {"\r  \t", "\t\r"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, bridge.Limits{})
			line := around[0] + `{"jsonrpc":"2.0","method":"clean","params":{"n":1}}` + around[1]
			text, _ := json.Marshal(line)
			f.mustPost("c", "a", `{"jsonrpc":"2.0","id":1,"method":"rubbish","params":{"text":`+string(text)+`}}`)
			start := uint64(0)
			got := f.events("c", &start, func(e journal.Entry) bool { return e.Seq == 1 })[0]
			if string(got.Frame) != `{"jsonrpc":"2.0","method":"clean","params":{"n":1}}` {
				t.Errorf("the event is %s", got.Frame)
			}
		})
	}
}

// TestLineThatIsNoFrameIsReported has an agent write logs to its output, also with
// what looks like a frame in them, which it may only repeat.
func TestLineThatIsNoFrameIsReported(t *testing.T) {
	for _, line := range []string{
		"INFO ready", `INFO sent {"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":1,"result":{}} and more`,
		"\x1b[31mfailed\x1b[0m", "\ufeff", `{"jsonrpc":"2.0","id":1,"result":{}`, "\x1b[0m{}",
	} {
		f := newFixture(t, bridge.Limits{})
		text, _ := json.Marshal(line)
		f.mustPost("c", "a", `{"jsonrpc":"2.0","id":7,"method":"rubbish","params":{"text":`+string(text)+`}}`)
		start := uint64(0)
		got := f.events("c", &start, func(e journal.Entry) bool { return e.Seq == 1 })[0]
		if !strings.Contains(string(got.Frame), `"_adapter/invalid_stdout"`) {
			t.Errorf("%q becomes the event %s", line, got.Frame)
		}
	}
}

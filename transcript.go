package sandboxagent

import (
	"strings"
	"unicode/utf8"
)

// maxTranscript bounds what is kept of a conversation for an agent that forgets
// it, in bytes.
const maxTranscript = 48 << 10

// A transcript is what the two sides said, without tools and thoughts. The zero
// value is empty.
type transcript struct {
	text []byte
	role string // of what text ends with
}

func (t *transcript) empty() bool { return len(t.text) == 0 }

// keep starts with the text of an earlier transcript.
func (t *transcript) keep(text string) { t.text = append(t.text[:0], text...); t.role = ""; t.trim() }

// add appends what a role says, in the same paragraph as long as it speaks.
func (t *transcript) add(role, text string) {
	if text == "" {
		return
	}
	if role != t.role {
		if len(t.text) > 0 {
			t.text = append(t.text, "\n\n"...)
		}
		t.text = append(append(t.text, role...), ": "...)
		t.role = role
	}
	t.text = append(t.text, text...)
	t.trim()
}

// trim drops the oldest part when there is twice as much as is kept.
func (t *transcript) trim() {
	if len(t.text) > 2*maxTranscript {
		t.text = append(t.text[:0:0], t.text[len(t.text)-maxTranscript:]...)
	}
}

// String returns the newest part.
func (t *transcript) String() string {
	text := t.text
	if len(text) <= maxTranscript {
		return string(text)
	}
	text = text[len(text)-maxTranscript:]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return "[earlier parts left out]\n" + strings.TrimLeft(string(text), "\n")
}

// replayText is what the first prompt of a replayed session starts with.
func replayText(script string) string {
	return "This goes on from an earlier session, whose state is lost. What was said in it:\n\n" +
		script + "\n\n[end of the earlier session]"
}

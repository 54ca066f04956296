package testkit

import (
	"bufio"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Event is one server-sent event. ID is 0 if it has none.
type Event struct {
	Name string
	ID   uint64
	Data string
}

// Events reads an event stream to its end, or until the loop over it ends. Comments
// and an event that is cut off are left out.
func Events(stream io.Reader) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		var e Event
		for lines := bufio.NewReader(stream); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSuffix(line, "\n")
			if line == "" {
				if e != (Event{}) && !yield(e) {
					return
				}
				e = Event{}
				continue
			}
			switch key, value, _ := strings.Cut(line, ": "); key {
			case "event":
				e.Name = value
			case "id":
				e.ID, _ = strconv.ParseUint(value, 10, 64)
			case "data":
				e.Data = value
			}
		}
	}
}

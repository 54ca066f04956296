package cli

import (
	"fmt"
	"time"
)

// firstSilence is how long nothing happens before the user is told so. Agents say
// nothing while a model does not answer, and while they ask it again and again.
const firstSilence = 20 * time.Second

// next returns the next step of a turn. While none comes it says so, each time after
// twice as long as before; ok is false at the end.
func (r *run) next(updates <-chan streamed) (u streamed, ok bool) {
	since, after := time.Now(), firstSilence
	for {
		timer := time.NewTimer(after)
		select {
		case u, ok = <-updates:
			timer.Stop()
			return u, ok
		case <-timer.C:
			after = time.Since(since)
			r.view.note(fmt.Sprintf("nothing from the agent for %s: its model does not answer, is asked again, or a command runs; Ctrl-C cancels the turn", after.Round(time.Second)))
		}
	}
}

package cli

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilenceOfAnAgentIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown bytes.Buffer
		r := &run{view: &sessionView{view: newView(&globals{env: Environment{Err: &shown}})}}
		updates := make(chan streamed)
		go func() {
			updates <- streamed{}
			time.Sleep(15 * time.Second)
			updates <- streamed{}
			time.Sleep(3 * time.Minute)
			updates <- streamed{}
			close(updates)
		}()
		for _, want := range []string{"", "", "20s 40s 1m20s 2m40s"} {
			shown.Reset()
			if _, ok := r.next(updates); !ok {
				t.Fatal("the turn has ended")
			}
			var told []string
			for line := range strings.Lines(shown.String()) {
				_, rest, _ := strings.Cut(line, "for ")
				after, _, _ := strings.Cut(rest, ":")
				told = append(told, after)
			}
			if got := strings.Join(told, " "); got != want {
				t.Errorf("it was said after %q, want %q", got, want)
			}
		}
		if _, ok := r.next(updates); ok {
			t.Error("the turn has not ended")
		}
	})
}

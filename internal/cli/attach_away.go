package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// What becomes of a session that is attached while its server is away: that is
// said, the stream of events comes back by itself, and prompts are kept until the
// server has them.

// resendAgain is how long to wait before a server that did not take a prompt is
// given it again.
const resendAgain = time.Second

// reach carries the newest news of whether the server can be reached: nil, or why
// not.
type reach chan error

// report never blocks. It has one caller at a time.
func (r reach) report(err error) {
	select {
	case <-r:
	default:
	}
	r <- err
}

// heldPrompt is a prompt that the server does not have, as far as is known.
type heldPrompt struct {
	text string
	sent bool // the server was given it and may have taken it
}

// unanswered reports whether a call has failed without a word of the server.
func unanswered(err error) bool {
	var problem *api.Error
	return err != nil && !errors.As(err, &problem)
}

// reached says that the server is gone, or back.
func (a *attachment) reached(ctx context.Context, err error) {
	a.unmark()
	if err != nil {
		a.away = true
		// Whether they wait still is seen when it is back.
		a.requests = nil
		a.view.errorLine(a.view.paint(red, fmt.Sprintf("lost the server, waiting for it: %v", err)))
		return
	}
	a.away = false
	a.view.note("the server is back")
	a.resend = time.After(0)
	if a.last >= a.present {
		a.look(ctx)
	}
}

// hold keeps a prompt until the server has it.
func (a *attachment) hold(p heldPrompt) {
	a.held = append(a.held, p)
	a.view.note(fmt.Sprintf("kept %q until the server answers", p.text))
	a.resend = time.After(resendAgain)
}

// arrived forgets the prompt that an event shows to have come to the server after
// all.
func (a *attachment) arrived(e sandboxagent.SessionEvent) {
	said, ok := e.Prompt()
	if e.Method() == api.EventPromptQueued {
		var p api.SessionPromptQueued
		ok = e.Params(&p) == nil
		said = p.Prompt
	}
	if !ok {
		return
	}
	text := said.Text()
	if i := slices.Index(a.held, heldPrompt{text: text, sent: true}); i >= 0 {
		a.held = slices.Delete(a.held, i, i+1)
	}
}

// deliver gives the server the prompts that were kept for it, once all is seen
// that it has done so far.
func (a *attachment) deliver(ctx context.Context) {
	a.resend = nil
	if a.away || len(a.held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, attachCall)
	defer cancel()
	info, err := a.session.Info(ctx)
	switch {
	case err != nil:
		a.resend = time.After(resendAgain)
		return
	case a.last < info.LastEvent:
		a.resend = time.After(drainAgain)
		return
	}
	for len(a.held) > 0 {
		_, err := a.session.PromptAsync(ctx, sandboxagent.Text(a.held[0].text))
		if unanswered(err) {
			a.held[0].sent = true
			a.resend = time.After(resendAgain)
			return
		}
		if a.held = a.held[1:]; err != nil {
			a.complain(err)
		} else {
			a.busy = true
		}
	}
}

// lose says which prompts never came to the server.
func (a *attachment) lose() {
	for _, p := range a.held {
		a.view.errorLine(fmt.Sprintf("sandbox-agent: not sent, as the server did not answer: %s", p.text))
	}
}

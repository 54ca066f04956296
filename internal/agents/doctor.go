package agents

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

// Doctor says of every agent, in words, whether it would work and why not. It
// starts those that are installed, for their help only and for a bounded time,
// and it tells nobody's secrets.
func (c *Catalogue) Doctor(ctx context.Context) []api.AgentCheck {
	creds := c.Credentials(false)
	checks := make([]api.AgentCheck, len(c.agents))
	slots := make(chan struct{}, 2) // agents are heavy
	var wg sync.WaitGroup
	for i, a := range c.agents {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			checks[i] = c.check(ctx, a, creds)
		})
	}
	wg.Wait()
	return checks
}

func (c *Catalogue) check(ctx context.Context, a Agent, creds credentials.Found) api.AgentCheck {
	k := api.AgentCheck{Agent: a.ID, Name: a.Name, Asking: AskingWords(a.asking())}
	f, ok := c.find(a)
	if !ok {
		k.Status, k.Detail, k.Hint = api.CheckNotInstalled, c.missing(a), c.remedy(a)
		if !a.Credentials.none() && c.provided(a, creds) {
			k.Detail += "; a credential for it was found"
		}
		return k
	}
	k.Detail = fmt.Sprintf("%s (%s)", f.path, f.source)
	if out, err := c.tryLauncher(ctx, f.path, f.args...); err != nil {
		k.Status = api.CheckBroken
		k.Detail += " does not start: " + err.Error()
		k.Hint = c.brokenHint(ctx, a, f)
		if out != nil {
			k.Stderr = out.words()
		}
		return k
	}
	if rec, ok := c.installed(a); a.NativeNeeded && (!ok || rec.Native == "") {
		if _, ok := c.native(a); !ok {
			k.Status, k.Hint = api.CheckBroken, a.Note
			k.Detail += " starts, but " + a.Native + ", which it needs, is not on PATH"
			return k
		}
	}
	if !c.provided(a, creds) {
		k.Status, k.Hint = api.CheckNoCredentials, a.Credentials.Hint
		k.Detail += " starts, but no credential was found for it"
		return k
	}
	k.Status = api.CheckReady
	k.Detail += " starts"
	if names := creds.Names(); len(a.Credentials.Providers) > 0 && len(names) > 0 {
		k.Detail += "; credentials: " + strings.Join(names, ", ")
	}
	return k
}

// brokenHint guesses why an agent does not start.
func (c *Catalogue) brokenHint(ctx context.Context, a Agent, f found) string {
	have, ok := c.systemNode(ctx)
	switch {
	case f.source == api.AgentBuiltin:
		return "check that the file is this program and may be run"
	case len(a.Packages) > 0 && !ok && f.source != api.AgentFromCommand:
		return "it needs Node.js, and there is none on PATH"
	case a.MinNode != "" && olderThan(have, a.MinNode):
		return fmt.Sprintf("it needs Node.js %s, and that on PATH is %s; an install with sandbox-agent brings its own: sandbox-agent agents install %s --reinstall", a.MinNode, have, a.ID)
	case len(a.Packages) > 0:
		return "install it again: sandbox-agent agents install " + a.ID + " --reinstall"
	}
	return "run the command by hand to see why"
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/all"
)

// providers returns all providers of this host by their names, in the order of the
// list.
func (g *globals) providers() ([]all.Maker, all.Config) {
	return all.Providers(), all.Config{
		StateDir: provider.StateDir(g.env.lookup("XDG_STATE_HOME"), g.env.Home), Binary: g.env.Exe, Store: agents.StoreDir(g.data()),
	}
}

// maker returns the provider of a name.
func (g *globals) maker(name string) (all.Maker, error) {
	makers, _ := g.providers()
	var names []string
	for _, maker := range makers {
		if maker.Name == name {
			return maker, nil
		}
		names = append(names, maker.Name)
	}
	return all.Maker{}, usagef("there is no provider %q; use %s", name, strings.Join(names, " or "))
}

// foundSandbox is a sandbox with the provider that has it.
type foundSandbox struct {
	*provider.Instance
	provider provider.Provider
}

// sandboxes returns the sandboxes of all providers that carry the labels.
func (g *globals) sandboxes(ctx context.Context, labels map[string]string) ([]foundSandbox, error) {
	makers, cfg := g.providers()
	var found []foundSandbox
	var failed []error
	for _, maker := range makers {
		p := maker.New(cfg)
		for i, err := range p.List(ctx, labels) {
			if err != nil {
				failed = append(failed, err)
				continue
			}
			found = append(found, foundSandbox{i, p})
		}
	}
	return found, errors.Join(failed...)
}

// findSandbox returns the sandbox of an id or a name, or of the beginning of an id
// that no other has.
func (g *globals) findSandbox(ctx context.Context, name string) (foundSandbox, error) {
	makers, cfg := g.providers()
	for _, maker := range makers {
		p := maker.New(cfg)
		i, err := p.Get(ctx, name)
		if !errors.Is(err, api.CodeSandboxNotFound) {
			return foundSandbox{i, p}, err
		}
	}
	list, err := g.sandboxes(ctx, nil)
	if err != nil {
		return foundSandbox{}, err
	}
	var fit []foundSandbox
	for _, s := range list {
		if name != "" && (s.Spec.Name == name || strings.HasPrefix(s.ID, name)) {
			fit = append(fit, s)
		}
	}
	switch len(fit) {
	case 0:
		return foundSandbox{}, api.NotFound("sandbox", name)
	case 1:
		return fit[0], nil
	}
	return foundSandbox{}, usagef("%d sandboxes are called %s or have ids that begin so; use the whole id, see sandbox-agent sandbox ls", len(fit), name)
}

// completeSandbox completes ids of sandboxes.
func (g *globals) completeSandbox(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list, err := g.sandboxes(cmd.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, s := range list {
		ids = append(ids, cobra.CompletionWithDesc(s.ID, strings.TrimSpace(fmt.Sprint(s.Spec.Name, " ", s.Provider, " ", s.State))))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeSandboxPath completes files of this machine, and ids of sandboxes with the
// colon that a path of theirs follows.
func (g *globals) completeSandboxPath(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ids, _ := g.completeSandbox(cmd, args, prefix)
	var sides []cobra.Completion
	for _, id := range ids {
		id, description, _ := strings.Cut(id, "\t")
		if strings.HasPrefix(id, prefix) {
			sides = append(sides, cobra.CompletionWithDesc(id+":", description))
		}
	}
	if len(sides) == 0 || prefix == "" {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return sides, cobra.ShellCompDirectiveNoSpace
}

// sandboxTransport sends requests to the server of a sandbox, which is looked up
// with the first one.
type sandboxTransport struct {
	g    *globals
	name string

	find  sync.Once
	found foundSandbox
	err   error
	http  *http.Transport
}

func (t *sandboxTransport) sandbox(ctx context.Context) (foundSandbox, error) {
	t.find.Do(func() {
		t.found, t.err = t.g.findSandbox(ctx, t.name)
		t.http = &http.Transport{
			MaxIdleConnsPerHost: 32,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				now, err := t.found.provider.Get(ctx, t.found.ID)
				if err != nil {
					return nil, err
				}
				return now.Dial(ctx)
			},
		}
	})
	return t.found, t.err
}

// RoundTrip implements [http.RoundTripper].
func (t *sandboxTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	found, err := t.sandbox(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(found.Token))
	return t.http.RoundTrip(r)
}

// CloseIdleConnections is what a client calls that is closed.
func (t *sandboxTransport) CloseIdleConnections() {
	if t.http != nil {
		t.http.CloseIdleConnections()
	}
}

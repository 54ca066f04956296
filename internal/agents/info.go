package agents

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

// InfoOptions says what [Catalogue.Info] and [Catalogue.List] find out.
type InfoOptions struct {
	Config bool // also version, path and choices, for which programs are asked
	Fresh  bool // do not use what an earlier call found out
}

// Info describes an agent. The status of its connections is not known here.
func (c *Catalogue) Info(ctx context.Context, id string, opts InfoOptions) (*api.AgentInfo, error) {
	a, err := c.Agent(id)
	if err != nil {
		return nil, err
	}
	info := c.info(ctx, a, c.Credentials(false), opts)
	return &info, nil
}

// List describes all agents, in the order of the catalogue. Programs are asked
// for their versions side by side, so it takes as long as the slowest.
func (c *Catalogue) List(ctx context.Context, opts InfoOptions) api.AgentList {
	creds := c.Credentials(false)
	list := api.AgentList{Agents: make([]api.AgentInfo, len(c.agents))}
	var wg sync.WaitGroup
	for i, a := range c.agents {
		wg.Go(func() { list.Agents[i] = c.info(ctx, a, creds, opts) })
	}
	wg.Wait()
	return list
}

func (c *Catalogue) info(ctx context.Context, a Agent, creds credentials.Found, opts InfoOptions) api.AgentInfo {
	f, ok := c.find(a)
	info := api.AgentInfo{
		ID:                   a.ID,
		Name:                 a.Name,
		Installed:            ok,
		CredentialsAvailable: a.Credentials.Assumed || c.provided(a, creds),
		Capabilities:         a.Capabilities,
		Note:                 a.Note,
		Asking:               a.asking(),
	}
	if ok {
		info.Source = f.source
	}
	if opts.Config {
		p := c.probe(ctx, a, opts.Fresh)
		info.Version, info.Path, info.ConfigError = p.version, p.path, p.err
		info.ConfigOptions = slices.Clone(a.Options)
	}
	return info
}

// Credentials looks for the credentials of this machine.
func (c *Catalogue) Credentials(noOAuth bool) credentials.Found {
	return credentials.Discover(credentials.Sources{Env: c.cfg.Env, Home: c.cfg.Home, NoOAuth: noOAuth})
}

// provided reports whether a credential that an agent can use is there, or it
// needs none.
func (c *Catalogue) provided(a Agent, creds credentials.Found) bool {
	n := a.Credentials
	if n.none() || n.satisfied(creds) {
		return true
	}
	if slices.ContainsFunc(n.Env, func(key string) bool { return c.env[key] != "" }) {
		return true
	}
	return c.cfg.Home != "" && slices.ContainsFunc(n.Files, func(name string) bool {
		info, err := os.Stat(filepath.Join(c.cfg.Home, filepath.FromSlash(name)))
		return err == nil && info.Mode().IsRegular() && info.Size() > 2 // more than "{}"
	})
}

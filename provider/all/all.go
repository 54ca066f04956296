// Package all is the list of the providers that this module has.
package all

import (
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
	"github.com/sandboxagent/sandboxagent/provider/local"
)

// Config is what a provider may need of the host.
type Config struct {
	StateDir string // absolute path of the directory that keeps all sandboxes
	Binary   string // path of the program sandbox-agent
	Store    string // directory with the agents that sandboxes may run, or empty

	// Progress, if not nil, is called now and then while a directory is copied into a
	// workspace.
	Progress func(files int, bytes int64)
}

// A Maker is a provider by its name.
type Maker struct {
	Name  string
	Short string // what it is, for people

	// Notice is what a user has to know before a sandbox is made.
	Notice string

	// Store says that its sandboxes run the agents of [Config.Store]; others find
	// those of the user.
	Store bool

	// ForModels is the mode of the network for agents that need a model. Empty means
	// that the default has models.
	ForModels provider.Network

	New func(Config) provider.Provider
}

// Providers returns all providers, the one that isolates least first.
func Providers() []Maker {
	return []Maker{
		{
			Name: local.Name, Short: "a server of the user; isolates nothing",
			Notice: "the provider local isolates nothing: what runs there can do whatever you can",
			New: func(c Config) provider.Provider {
				return local.New(local.Config{StateDir: c.StateDir, Binary: c.Binary, Progress: c.Progress})
			},
		},
		{
			Name: bubblewrap.Name, Short: "Linux namespaces by bwrap", Store: true, ForModels: provider.NetworkModel,
			New: func(c Config) provider.Provider {
				return bubblewrap.New(bubblewrap.Config{StateDir: c.StateDir, Binary: c.Binary, Store: c.Store, Progress: c.Progress})
			},
		},
	}
}

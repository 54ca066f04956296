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
}

// A Maker is a provider by its name.
type Maker struct {
	Name  string
	Short string // what it is, for people

	// Notice is what a user has to know before a sandbox is made.
	Notice string

	New func(Config) provider.Provider
}

// Providers returns all providers, the one that isolates least first.
func Providers() []Maker {
	return []Maker{
		{local.Name, "a server of the user; isolates nothing", "the provider local isolates nothing: what runs there can do whatever you can", func(c Config) provider.Provider {
			return local.New(local.Config{StateDir: c.StateDir, Binary: c.Binary})
		}},
		{bubblewrap.Name, "Linux namespaces by bwrap", "", func(c Config) provider.Provider { return bubblewrap.New(bubblewrap.Config(c)) }},
	}
}

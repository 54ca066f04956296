// Package local is the provider that isolates nothing: the server of a sandbox is a
// program of the user, and what runs there can do whatever the user can. It shares
// the home directory, the installed agents, and the network of the host. Use it for
// work that you would do yourself in a terminal; for everything else there is
// package bubblewrap.
//
// What it does have of a sandbox is the life cycle: pause, resume, restart, kill,
// and destroy reach every process, and the sandbox outlives its creator.
package local

import (
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/internal/shim/workspace"
)

// Name is the name of the provider.
const Name = "local"

// Config says where sandboxes are kept and what runs them.
type Config struct {
	StateDir string // absolute path of the directory that keeps all sandboxes
	Binary   string // path of the program sandbox-agent

	// Env is the environment of what runs in the sandboxes; nil means that of
	// this process.
	Env []string

	// Progress, if not nil, is called now and then while a directory is copied into a
	// workspace.
	Progress func(files int, bytes int64)
}

// Provider makes local sandboxes. It is a provider.Provider with the abilities
// Pauser, Resumer, Restarter, Killer, Execer, Logger, Differ, Keeper,
// KeySetter, Archiver, and Pruner.
type Provider struct{ *workspace.Store }

// New returns the provider. It does no I/O.
func New(cfg Config) *Provider {
	return &Provider{workspace.Open(workspace.Config{
		Config:   shim.Config{StateDir: cfg.StateDir, Binary: cfg.Binary, Env: cfg.Env},
		Journal:  ".",
		Progress: cfg.Progress,
	}, Name)}
}

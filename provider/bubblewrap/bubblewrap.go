// Package bubblewrap is the provider of sandboxes in Linux namespaces, which the
// program bwrap makes. It needs no daemon, and no privileges where the kernel lets
// users make namespaces.
//
// A sandbox sees the programs and libraries of the host below /usr, a private home
// directory, and its workspace, and nothing else of the host: no home directories,
// no other mounts, processes, or sockets, and no network but a loopback of its own.
// It runs as a user without privileges, also when root makes it, and without
// capabilities; system calls that lead around this are refused.
// docs/guide/sandboxes.md says what is and is not kept out.
package bubblewrap

import (
	"os"

	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/internal/shim/workspace"
)

// Name is the name of the provider.
const Name = "bubblewrap"

// Config says where sandboxes are kept and what runs them.
type Config struct {
	StateDir string // absolute path of the directory that keeps all sandboxes
	Binary   string // path of the program sandbox-agent

	// Progress, if not nil, is called now and then while a directory is copied into a
	// workspace.
	Progress func(files int, bytes int64)

	// Store is the absolute path of the directory with the agents that sandboxes may
	// run, which they see read-only: the directory store of a data directory, into
	// which "sandbox-agent agents install" puts them. Empty means none.
	Store string

	// Env is the environment of the user, in which keys and servers of models are
	// looked for; nil means that of this process. Of it the sandbox gets the names of
	// models alone.
	Env []string
}

// Provider makes sandboxes with bwrap. It is a provider.Provider with the abilities
// Pauser, Resumer, Restarter, Killer, Execer, Logger, Differ, Keeper,
// KeySetter, Archiver, and Pruner.
type Provider struct{ *workspace.Store }

// New returns the provider. It does no I/O.
func New(cfg Config) *Provider {
	return &Provider{workspace.Open(workspace.Config{
		Config:   shim.Config{StateDir: cfg.StateDir, Binary: cfg.Binary, Store: cfg.Store, Env: cfg.Env},
		Owner:    owner,
		Journal:  "home/.local/share/sandbox-agent",
		Progress: cfg.Progress,
	}, Name)}
}

// owner returns who owns the files of a sandbox. Those of an ordinary user stay theirs.
func owner(id string) (uid, gid int) {
	if os.Geteuid() != 0 {
		return -1, -1
	}
	return shim.UID(id), shim.UID(id)
}

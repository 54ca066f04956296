package run

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/provider"
)

// local runs the server as any program of the user. It isolates nothing.
type local struct{}

func (local) capabilities(b *box) provider.Capabilities {
	return provider.Capabilities{
		Isolation:  "none",
		Pause:      b.groups.pause(),
		Limits:     b.groups.limits(),
		Workspaces: []provider.WorkspaceMode{provider.WorkspaceBind, provider.WorkspaceCopy, provider.WorkspaceEmpty},
		Networks:   []provider.Network{provider.NetworkHost},
	}
}

func (local) prepare(b *box) error {
	spec := b.record.Spec
	if spec.Image != "" || spec.Root != "" || spec.Strict {
		return provider.Unsupported("the provider local isolates nothing: leave image, root, and strict out")
	}
	if spec.Workspace.Mode == provider.WorkspaceBind {
		b.status.WorkDir = spec.Workspace.Dir
		return b.checkWorkspace()
	}
	b.status.WorkDir = filepath.Join(string(b.dir), "workspace")
	return b.makeDirs(os.Geteuid(), "workspace")
}

func (local) listen(b *box) (*os.File, error) { return listenTCP(b) }

// launch gives the server a journal of its own, so that it may run alongside
// others, and shares everything else of the user with them.
func (local) launch(b *box, args []string, files []*os.File) (*child.Child, error) {
	env := slices.DeleteFunc(slices.Clone(b.user.Env), func(kv string) bool { return strings.HasPrefix(kv, "SANDBOX_AGENT_TOKEN") })
	b.status.Marker = "SANDBOX_AGENT_SANDBOX=" + b.dir.ID()
	env = append(env, b.status.Marker)
	for key, value := range b.record.Spec.Env {
		env = append(env, key+"="+value)
	}
	args = append(args, "--journal", filepath.Join(string(b.dir), shim.LocalJournal))
	return b.groups.start(child.Spec{
		Path: b.opts.Exe, Args: args, Dir: b.status.WorkDir, Env: env, Stdin: true, Contained: true, Files: files,
	})
}

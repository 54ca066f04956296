// Package provider says what a sandbox is and what makes one. A provider is a
// directory below this one: local, bubblewrap. The package starts nothing and
// talks to no server; it holds the types that providers, the SDK, and the command
// line share.
//
// A provider has four duties, see [Provider]. What else it can do is an ability
// that its value implements, found by assertion, or by [As], which looks through
// wrappers such as [WithLog] and [WithRetry]:
//
//	if p, ok := provider.As[provider.Pauser](p); ok {
//		err = p.Pause(ctx, id)
//	}
//
// The suite in package providertest holds every provider to these contracts.
package provider

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// A Provider makes sandboxes and finds them again, also those that another
// process made. Its methods may be called from several goroutines and processes
// at once.
//
// An id that no sandbox has is an error that matches [api.CodeSandboxNotFound].
type Provider interface {
	// Create makes a sandbox and returns when its server answers, the files of
	// spec are written, and its bootstrap commands have succeeded. Nothing is left
	// of a sandbox whose creation fails, or whose creator ends before it is done.
	// A spec that the provider or the host cannot honour is an error that matches
	// [api.CodeUnsupportedSpec]; nothing of a spec is dropped in silence.
	Create(ctx context.Context, spec Spec) (*Instance, error)

	// Get returns a sandbox as it is now.
	Get(ctx context.Context, id string) (*Instance, error)

	// List yields the sandboxes that carry all the labels, oldest first. One that
	// cannot be read is yielded as an error, and the list goes on.
	List(ctx context.Context, labels map[string]string) iter.Seq2[*Instance, error]

	// Destroy ends everything that runs in a sandbox and removes all that the
	// provider keeps of it. A directory that was bound stays. A sandbox that does
	// not exist is an error.
	Destroy(ctx context.Context, id string) error
}

// A Pauser stops everything in a sandbox where it is, also what left its session.
// Pausing a paused sandbox does nothing. [Resumer] undoes it.
type Pauser interface {
	Pause(ctx context.Context, id string) error
}

// A Resumer lets a paused sandbox go on. Resuming a running one does nothing.
type Resumer interface {
	Resume(ctx context.Context, id string) error
}

// A Restarter ends everything in a sandbox and starts its server again, with the
// files and sessions that it had. It also starts one that was killed or failed.
// Bootstrap commands do not run again.
type Restarter interface {
	Restart(ctx context.Context, id string) error
}

// A Killer ends everything in a sandbox at once. Its files stay, and it can be
// restarted. Killing a sandbox that does not run does nothing.
type Killer interface {
	Kill(ctx context.Context, id string) error
}

// An Execer runs a command in a sandbox to its end. A command that does not end
// well is not an error. What it leaves running lives until the sandbox is killed,
// restarted, or destroyed.
type Execer interface {
	Exec(ctx context.Context, id string, cmd api.ProcessRunRequest) (*api.ProcessRunResult, error)
}

// A Logger gives the newest output of the server and of what started it, at most
// 1 MiB.
type Logger interface {
	Logs(ctx context.Context, id string) ([]byte, error)
}

// A Differ shows what was changed in a workspace that belongs to its sandbox, and
// brings it back. A bound workspace is an error that matches
// [api.CodeUnsupportedSpec].
type Differ interface {
	// Diff compares the workspace with what it was at the beginning, or when its
	// changes were last applied.
	Diff(ctx context.Context, id string, opts DiffOptions) (*api.Changes, error)

	// Apply writes what Diff shows into a directory of the host, all or nothing.
	// What was applied to the directory of the workspace is no longer a change.
	// Where the directory has moved on, the error matches
	// [api.CodeChangesConflict].
	Apply(ctx context.Context, id string, opts ApplyOptions) (*api.Applied, error)
}

// DiffOptions say what a [Differ] shows. The zero value lists changed paths.
type DiffOptions struct {
	// Ignored includes what ignore files of the workspace leave out.
	Ignored bool

	Patch io.Writer // gets a patch that git apply takes; nil means none
	Stat  io.Writer // gets a summary for people; nil means none
	Width int       // columns of the summary; 0 means 80

	// Commits gets the commits that were made in the sandbox on top of the commit of
	// the copied directory, as git am takes them; nil means none.
	Commits io.Writer
}

// ApplyOptions say where changes go.
type ApplyOptions struct {
	// Dir is the absolute path of the directory; empty means that of the workspace.
	// It is made if it does not exist.
	Dir string

	// Merge joins the lines of files that were changed on both sides.
	Merge bool

	// Ignored includes what ignore files of the workspace leave out.
	Ignored bool
}

// An Archiver keeps the patch, and the journal with the sessions, of sandboxes that
// were destroyed: of the newest ones, up to a bound.
type Archiver interface {
	// Archived returns what is kept, newest first.
	Archived(ctx context.Context) ([]Archived, error)
}

// Archived is what is kept of a sandbox that was destroyed.
type Archived struct {
	ID          string    `json:"id"`
	Provider    string    `json:"provider"`
	Name        string    `json:"name,omitempty"`
	Workspace   Workspace `json:"workspace"`
	CreatedAt   time.Time `json:"createdAt"`
	DestroyedAt time.Time `json:"destroyedAt"`

	// Dir has journal.db, which a server reads with --data-dir, and if there were
	// changes that had not been applied, changes.patch.
	Dir     string `json:"dir"`
	Changes int    `json:"changes"`           // paths in the patch
	Partial string `json:"partial,omitempty"` // what is not kept, and why
}

// A Keeper counts the changes of a workspace that end with the sandbox, so that nobody
// removes work by mistake. A bound workspace has none.
type Keeper interface {
	Kept(ctx context.Context, id string) (int, error)
}

// A Pruner ends and removes what is left of sandboxes that do not exist, and of
// creations that never finished. It removes no sandbox that List shows.
type Pruner interface {
	Prune(ctx context.Context) (Pruned, error)
}

// A KeySetter hands the model keys of the user of this process to a sandbox, in place
// of those that it has, and returns what the user has to know. A sandbox whose network
// has no forwarder to models is an error that matches [api.CodeUnsupportedSpec].
type KeySetter interface {
	SetKeys(ctx context.Context, id string) (warnings []string, err error)
}

// Pruned counts what a [Pruner] did.
type Pruned struct {
	Failed  []string `json:"failed"`  // ids of sandboxes whose shim was found dead
	Removed []string `json:"removed"` // ids of unfinished creations
}

// State is what a sandbox does.
type State string

// The states of a sandbox. A failed one ended by itself; a stopped one was killed, or
// its server was ended in an orderly way. [Instance] names the reason. Both keep their
// files.
const (
	Creating State = "creating"
	Running  State = "running"
	Paused   State = "paused"
	Stopped  State = "stopped"
	Failed   State = "failed"
)

// Instance is a sandbox at the time it was asked for.
type Instance struct {
	ID        string
	Provider  string
	State     State
	Reason    string // why it failed or stopped, for people
	CreatedAt time.Time
	Spec      Spec // with what the provider filled in

	// URL is where other programs of the host reach the server, or empty where
	// Dial is the only way.
	URL   string
	Token Secret // of the server

	// WorkDir is the workspace as seen in the sandbox, the working directory of
	// sessions and commands that name none.
	WorkDir string

	Capabilities Capabilities

	// Bootstrap is what the bootstrap commands did, in order. It is only set by
	// Create.
	Bootstrap []api.ProcessRunResult

	// Warnings are what the user has to know about what was made, for people, such
	// as that no credentials for models were found. It is only set by Create.
	Warnings []string

	// Models are the model providers that can be reached, with where the key is
	// from, such as "anthropic (environment)". Nil where the network has no
	// forwarder to models.
	Models []string

	// Dialer connects to the server of the sandbox, see Dial.
	Dialer func(ctx context.Context) (net.Conn, error)
}

// Dial connects to the server of the sandbox. A sandbox that is not running is an
// error that matches [api.CodeSandboxPaused] or [api.CodeSandboxNotRunning].
func (i *Instance) Dial(ctx context.Context) (net.Conn, error) {
	switch i.State {
	case Running:
		return i.Dialer(ctx)
	case Paused:
		return nil, i.unavailable(api.CodeSandboxPaused, "paused; resume it")
	case Creating:
		return nil, i.unavailable(api.CodeSandboxNotRunning, "being started; wait a moment")
	case Failed:
		return nil, i.unavailable(api.CodeSandboxNotRunning, "down: "+i.Reason+"; restart it")
	}
	return nil, i.unavailable(api.CodeSandboxNotRunning, string(i.State)+"; restart it")
}

// unavailable is a problem that may be over in a moment, when the sandbox is resumed
// or restarted.
func (i *Instance) unavailable(code api.Code, state string) error {
	return api.NewError(api.KindUnavailable, code, "sandbox %s is %s", i.ID, state)
}

// Capabilities say what a provider can do on this host. They are true: the suite
// tries each.
type Capabilities struct {
	// Isolation is "none" where what runs in the sandbox can do whatever a program
	// of its user can, else the means of isolation.
	Isolation string `json:"isolation"`

	// Pause is how a pause is done: "freezer", or "signals" where the host lets
	// the provider have no cgroup.
	Pause string `json:"pause"`

	// Limits are the resources that can be limited: memory, cpus, pids, disk.
	Limits []string `json:"limits"`

	Workspaces []WorkspaceMode `json:"workspaces"`
	Networks   []Network       `json:"networks"`
}

// Secret is text that prints and logs as a mark. It is sent as it is: only wire
// types that carry it on purpose may have one.
type Secret string

const redacted = "[redacted]"

// String returns a mark in place of the secret.
func (Secret) String() string { return redacted }

// GoString returns a mark in place of the secret.
func (Secret) GoString() string { return redacted }

// LogValue returns a mark in place of the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a mark in place of the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

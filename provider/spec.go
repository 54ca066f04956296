package provider

import (
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandboxagent/sandboxagent/api"
)

// Spec says what sandbox to make. The zero value is a sandbox with an empty
// workspace and what the provider does by default.
type Spec struct {
	// Name is for people; it need not be unique. Letters, digits, and . _ -.
	Name string `json:"name,omitempty"`

	// Image names a container image, for providers that run one.
	Image string `json:"image,omitempty"`

	// Root is the absolute path of a directory with a root file system on the
	// host, which the programs of the sandbox come from. Empty means the host's
	// own.
	Root string `json:"root,omitempty"`

	Workspace Workspace `json:"workspace"`

	// Agent is the id of the agent that the sandbox is made for. The creation fails
	// with an error that matches [api.CodeAgentNotInstalled] if the sandbox does not
	// have it. Empty means none in particular.
	Agent string `json:"agent,omitempty"`

	// Files are written before the bootstrap commands run, all or none.
	Files []File `json:"files,omitempty"`

	// Env is added to the environment of the server, and so of all that runs in
	// the sandbox.
	Env map[string]string `json:"env,omitempty"`

	// Bootstrap is run once, in order, after the files are written. One that does
	// not exit with 0 fails the creation with an error that matches
	// [api.CodeBootstrapFailed] and carries the output.
	Bootstrap []Command `json:"bootstrap,omitempty"`

	Resources Resources `json:"resources"`

	// Network is what the sandbox has of a network. Empty means the default of
	// the provider.
	Network Network `json:"network,omitempty"`

	// Strict also forbids user namespaces in the sandbox, which some programs
	// (browsers, container engines) need.
	Strict bool `json:"strict,omitempty"`

	// Labels are what List selects by.
	Labels map[string]string `json:"labels,omitempty"`

	// TTL is how long after its creation the sandbox is paused. 0 means never.
	TTL time.Duration `json:"ttl,omitempty"`

	// Bound destroys the sandbox when the process that created it ends.
	Bound bool `json:"bound,omitempty"`
}

// Workspace is the directory that agents work in.
type Workspace struct {
	Mode WorkspaceMode `json:"mode,omitempty"` // empty means bind if Dir is set, else empty

	// Dir is the absolute path of the directory on the host that is bound or copied.
	Dir string `json:"dir,omitempty"`
}

// WorkspaceMode says how a workspace comes about.
type WorkspaceMode string

// The modes of a workspace. What a bound workspace changes is changed on the host
// at once. A copy of a directory, and an empty directory, belong to the sandbox and
// end with it; what was changed in them is brought back by a [Differ].
const (
	WorkspaceBind  WorkspaceMode = "bind"
	WorkspaceCopy  WorkspaceMode = "copy"
	WorkspaceEmpty WorkspaceMode = "empty"
)

// Network is a mode of the network of a sandbox.
type Network string

// The modes of a network. NetworkNone has loopback only. NetworkModel has a forwarder
// to the model providers on the loopback as well, which has the keys of the user who
// makes the sandbox; what runs there has a phantom key. NetworkOpen reaches the
// internet as well, but no address of this host or of a private network. NetworkHost
// is the network of the host, which only the provider local has, as it isolates
// nothing.
const (
	NetworkNone  Network = "none"
	NetworkModel Network = "model"
	NetworkOpen  Network = "open"
	NetworkHost  Network = "host"
)

// File is a file to write. A relative path is below the workspace, and "~/" is the
// home directory. Directories above it are made.
type File struct {
	Path    string      `json:"path"`
	Mode    fs.FileMode `json:"mode,omitempty"` // permission bits; 0 means 0644, or 0755 for a file that starts with #!
	Content []byte      `json:"content"`
}

// Command is a program to run in the workspace. No shell is involved.
type Command struct {
	Args    []string      `json:"args"`
	Timeout time.Duration `json:"timeout,omitempty"` // 0 means the server's default
}

// Resources limit a sandbox. 0 means no limit.
type Resources struct {
	Memory int64   `json:"memory,omitempty"` // bytes, of all processes together
	CPUs   float64 `json:"cpus,omitempty"`   // processors' worth of time
	PIDs   int64   `json:"pids,omitempty"`   // processes and threads
	Disk   int64   `json:"disk,omitempty"`   // bytes
}

// Limited returns the names of the resources that are limited, as in
// [Capabilities].
func (r Resources) Limited() []string {
	var names []string
	for _, limit := range []struct {
		name string
		set  bool
	}{{"memory", r.Memory != 0}, {"cpus", r.CPUs != 0}, {"pids", r.PIDs != 0}, {"disk", r.Disk != 0}} {
		if limit.set {
			names = append(names, limit.name)
		}
	}
	return names
}

var (
	nameForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	labelForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$`)
	envForm   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

const (
	minMemory   = 16 << 20 // under which the server itself does not start
	maxFiles    = 4096
	maxSpecSize = 32 << 20 // of all files together
)

// Check reports what is wrong with s whatever the provider, as an error that
// matches [api.CodeInvalidSpec], and returns s with its defaults.
func (s Spec) Check() (Spec, error) {
	if s.Workspace.Mode == "" {
		s.Workspace.Mode = WorkspaceEmpty
		if s.Workspace.Dir != "" {
			s.Workspace.Mode = WorkspaceBind
		}
	}
	for _, check := range []func() error{s.checkNames, s.checkWorkspace, s.checkEnv, s.checkFiles, s.checkLimits} {
		if err := check(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func invalid(format string, args ...any) error {
	return api.InvalidRequest(api.CodeInvalidSpec, format, args...)
}

func (s Spec) checkNames() error {
	if s.Name != "" && !nameForm.MatchString(s.Name) {
		return invalid("name %q: use up to 63 letters, digits, and . _ -, a letter or digit first", s.Name)
	}
	for key, value := range s.Labels {
		if !labelForm.MatchString(key) || len(value) > 256 || !plain(value) {
			return invalid("label %q: use letters, digits, and . _ / - in a key, and up to 256 characters in a value", key)
		}
	}
	if s.Agent != "" && !nameForm.MatchString(s.Agent) {
		return invalid("agent %q is not the id of an agent", s.Agent)
	}
	if s.Root != "" && !filepath.IsAbs(s.Root) {
		return invalid("root %q is not an absolute path", s.Root)
	}
	if s.TTL < 0 {
		return invalid("ttl is negative")
	}
	return nil
}

func (s Spec) checkWorkspace() error {
	w := s.Workspace
	switch {
	case w.Mode != WorkspaceBind && w.Mode != WorkspaceCopy && w.Mode != WorkspaceEmpty:
		return invalid("workspace mode %q: use bind, copy, or empty", w.Mode)
	case w.Mode == WorkspaceEmpty && w.Dir != "":
		return invalid("an empty workspace has no directory; use mode bind or copy for %s", w.Dir)
	case w.Mode != WorkspaceEmpty && (!filepath.IsAbs(w.Dir) || !plain(w.Dir)):
		return invalid("workspace mode %s needs the absolute path of a directory, not %q", w.Mode, w.Dir)
	case w.Mode != WorkspaceEmpty && filepath.Clean(w.Dir) == "/":
		return invalid("the root directory cannot be a workspace")
	}
	return nil
}

func (s Spec) checkEnv() error {
	for key, value := range s.Env {
		switch {
		case !envForm.MatchString(key):
			return invalid("environment variable %q: use letters, digits, and _, no digit first", key)
		case strings.Contains(value, "\x00"):
			return invalid("environment variable %s has a NUL byte", key)
		case key == "SANDBOX_AGENT_TOKEN":
			return invalid("environment variable %s belongs to the server", key)
		}
	}
	return nil
}

func (s Spec) checkFiles() error {
	size, seen := 0, make(map[string]bool)
	for _, file := range s.Files {
		name := path.Clean(file.Path)
		switch {
		case file.Path == "" || name == "." || name == "/" || strings.HasSuffix(file.Path, "/") || name == "~" || !plain(file.Path):
			return invalid("file %q is not the path of a file", file.Path)
		case slices.Contains(strings.Split(file.Path, "/"), ".."):
			return invalid("file %q leaves its directory with ..", file.Path)
		case strings.HasPrefix(name, "~") && !strings.HasPrefix(name, "~/"):
			return invalid("file %q: ~ is only known as ~/", file.Path)
		case file.Mode&^fs.ModePerm != 0:
			return invalid("file %q: mode %v is more than permission bits", file.Path, file.Mode)
		case seen[name]:
			return invalid("file %q is given twice", file.Path)
		}
		seen[name] = true
		size += len(file.Content)
	}
	if len(s.Files) > maxFiles || size > maxSpecSize {
		return invalid("%d files of %d bytes: at most %d files of %d bytes together", len(s.Files), size, maxFiles, maxSpecSize)
	}
	for i, cmd := range s.Bootstrap {
		if len(cmd.Args) == 0 || cmd.Args[0] == "" || cmd.Timeout < 0 {
			return invalid("bootstrap command %d names no program, or has a negative timeout", i+1)
		}
	}
	return nil
}

func (s Spec) checkLimits() error {
	r := s.Resources
	switch {
	case r.Memory < 0 || r.CPUs < 0 || r.PIDs < 0 || r.Disk < 0:
		return invalid("a limit cannot be negative")
	case r.Memory != 0 && r.Memory < minMemory:
		return invalid("memory %d: the least is %d bytes", r.Memory, minMemory)
	case r.CPUs != 0 && r.CPUs < 0.01:
		return invalid("cpus %v: the least is 0.01", r.CPUs)
	case r.PIDs != 0 && r.PIDs < 32:
		return invalid("pids %d: the least is 32, the server itself needs some", r.PIDs)
	}
	return nil
}

// Supports reports what of a checked s a provider with these capabilities cannot
// do, as an error that matches [api.CodeUnsupportedSpec].
func (c Capabilities) Supports(s Spec) error {
	for _, name := range s.Resources.Limited() {
		if !slices.Contains(c.Limits, name) {
			return Unsupported("this host lets the provider set no limit of %s; leave it out", name)
		}
	}
	switch {
	case !slices.Contains(c.Workspaces, s.Workspace.Mode):
		return Unsupported("workspace mode %s is not available on this host; use %s", s.Workspace.Mode, list(c.Workspaces))
	case s.Network != "" && !slices.Contains(c.Networks, s.Network):
		return Unsupported("network %s is not available; use %s", s.Network, list(c.Networks))
	}
	return nil
}

// Unsupported returns an error for a part of a spec that a provider cannot honour.
func Unsupported(format string, args ...any) error {
	return api.NewError(api.KindUnprocessable, api.CodeUnsupportedSpec, format, args...)
}

func list[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = string(name)
	}
	return strings.Join(texts, " or ")
}

// plain reports whether text is valid UTF-8 without control characters.
func plain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

package agents

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Command is a program to start. Args lacks the program's own name, Env is
// complete, and an empty Dir leaves the working directory to the caller.
type Command struct {
	Path string
	Args []string
	Env  []string
	Dir  string
}

// found is how an agent would be started.
type found struct {
	path   string
	args   []string
	source api.AgentSource
}

// find returns how an agent would be started. A launcher file wins over every
// other way, then a configured command, then this program itself, then the store of
// the host, then PATH.
func (c *Catalogue) find(a Agent) (found, bool) {
	if path := c.launcher(a); c.usable(a, path) {
		return found{path, nil, api.AgentFromLauncher}, true
	}
	if command := c.cfg.AgentCommands[a.ID]; len(command) > 0 {
		path, ok := c.lookPath(command[0])
		return found{path, command[1:], api.AgentFromCommand}, ok
	}
	if a.Builtin != nil {
		return found{c.cfg.SelfExe, a.Builtin, api.AgentBuiltin}, c.cfg.SelfExe != ""
	}
	if rec, ok := c.shared(a); ok {
		return found{rec.launcher(), nil, api.AgentFromLauncher}, true
	}
	if a.Command == "" {
		return found{}, false
	}
	// A vendor's program in the data directory, where the earlier server put it.
	if a.Command == a.Native {
		if path := c.nativeFile(a); executable(path) {
			return found{path, a.Args, api.AgentFromLauncher}, true
		}
	}
	path, ok := c.lookPath(a.Command)
	if ok && a.NativeNeeded {
		_, ok = c.native(a)
	}
	return found{path, a.Args, api.AgentFromPath}, ok
}

// usable reports whether a launcher file is there. One of ours counts only
// while the program it starts is there too.
func (c *Catalogue) usable(a Agent, path string) bool {
	if !executable(path) {
		return false
	}
	dir, ours := markOf(path)
	if !ours {
		return true
	}
	rec, err := readRecord(filepath.Join(c.storeDir(), a.ID, dir))
	return err == nil && executable(rec.program())
}

// Launch returns the command that starts an agent. One that is not installed is
// installed first, unless the configuration forbids it or nothing is known to
// install. The problems are unsupported_agent, agent_not_installed and
// install_failed.
func (c *Catalogue) Launch(ctx context.Context, id string) (Command, error) {
	a, err := c.Agent(id)
	if err != nil {
		return Command{}, err
	}
	f, ok := c.find(a)
	if !ok {
		if c.cfg.RequirePreinstall || c.cfg.Store != "" || len(a.Packages) == 0 || len(c.cfg.AgentCommands[a.ID]) > 0 {
			return Command{}, c.notInstalled(a)
		}
		c.log.Info("installing agent on first use", "agent", a.ID)
		if _, err := c.Install(ctx, id, api.AgentInstallRequest{}, nil); err != nil {
			return Command{}, err
		}
		if f, ok = c.find(a); !ok {
			return Command{}, c.notInstalled(a)
		}
	}
	args := slices.Clone(f.args)
	if url := c.env[api.EnvModels]; url != "" && a.ForwardedArgs != nil && f.source != api.AgentFromCommand {
		args = append(args, a.ForwardedArgs(url)...)
	}
	return Command{Path: f.path, Args: args, Env: c.environ(a)}, nil
}

// environ returns the environment in which an agent starts.
func (c *Catalogue) environ(a Agent) []string {
	env := slices.Clone(c.cfg.Env)
	if env == nil {
		env = []string{}
	}
	for _, key := range slices.Sorted(maps.Keys(a.Env)) {
		if _, set := c.env[key]; !set {
			env = append(env, key+"="+a.Env[key])
		}
	}
	forwarded := c.forwarded(a)
	for _, key := range slices.Sorted(maps.Keys(forwarded)) {
		env = append(env, key+"="+forwarded[key])
	}
	if c.cfg.SelfExe != "" {
		env = append(env, "SANDBOX_AGENT_BIN="+c.cfg.SelfExe)
	}
	if a.Environ != nil {
		env = a.Environ(env)
	}
	return env
}

// forwarded returns the variables that make an agent use the forwarder to models, if
// there is one.
func (c *Catalogue) forwarded(a Agent) map[string]string {
	url := c.env[api.EnvModels]
	if url == "" || a.Forwarded == nil {
		return nil
	}
	return a.Forwarded(url, c.env)
}

// notInstalled returns the problem that says what is missing and what to do.
func (c *Catalogue) notInstalled(a Agent) error {
	return api.AgentNotInstalled(a.ID, c.missing(a)+"; "+c.remedy(a))
}

// missing says in words why an agent cannot be started.
func (c *Catalogue) missing(a Agent) string {
	if command := c.cfg.AgentCommands[a.ID]; len(command) > 0 {
		return "the configured command " + command[0] + " is not a program"
	}
	if a.Builtin != nil {
		return "this program does not know its own file"
	}
	if _, ok := c.lookPath(a.Command); ok && a.NativeNeeded {
		return a.Command + " is on PATH, but not " + a.Native + ", which it needs"
	}
	if _, ok := c.native(a); ok && a.Native != a.Command {
		return a.Native + " is on PATH, but not " + a.Command + ", which speaks ACP for it"
	}
	what := "there is no launcher " + c.launcher(a)
	if c.cfg.Store != "" {
		what += ", nothing in the store of the host"
	}
	if a.Command != "" {
		what += " and no " + a.Command + " on PATH"
	}
	return what
}

// remedy says what to do about an agent that is not installed.
func (c *Catalogue) remedy(a Agent) string {
	if len(a.Packages) == 0 {
		return "put a launcher there, or configure a command for it"
	}
	names := make([]string, len(a.Packages))
	for i, p := range a.Packages {
		names[i] = p.Name + "@" + p.Version
	}
	if c.cfg.Store != "" {
		return "install it on the host, for all sandboxes: sandbox-agent agents install --sandboxes " + a.ID
	}
	return "run: sandbox-agent agents install " + a.ID + " (npm: " + strings.Join(names, " ") + ")"
}

// Forget removes what an agent of ours keeps of sessions, by the ids that it gave them.
func (c *Catalogue) Forget(agent string, sessions []string) error {
	a, err := c.Agent(agent)
	if err != nil || a.Records == nil {
		return nil
	}
	return c.cfg.User.Do(func() error {
		var failed []error
		for _, id := range sessions {
			if id == "" || id != filepath.Base(id) {
				continue // the agent chooses ids
			}
			for _, path := range a.Records(c.cfg.Home, c.env, id) {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					failed = append(failed, err)
				}
			}
		}
		return errors.Join(failed...)
	})
}

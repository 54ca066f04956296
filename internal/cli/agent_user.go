package cli

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

// agentHomes has the home directories of agent users whose account has none that it can
// write to.
const agentHomes = "/var/lib/sandbox-agent/home"

// setAgentUser makes the server run agents as the user of --agent-user, and sees to it
// that the user has no other way to the server than clients have.
func (g *globals) setAgentUser(cfg *app.Config, o *serverOptions, addr net.Addr) error {
	if o.agentUser == "" {
		if o.agentHome != "" {
			return usagef("--agent-home is of use only with --agent-user")
		}
		return nil
	}
	u, err := user.Lookup(o.agentUser)
	if err == nil {
		err = u.Check()
	}
	if err != nil {
		return usagef("--agent-user %s: %w", o.agentUser, err)
	}
	if cfg.Token == "" && addr.Network() != "unix" {
		return usagef("--agent-user %s needs a token, without which agents reach the server at %s like every program; give --token-file, or listen on unix:PATH", o.agentUser, addr)
	}
	home := ""
	if o.agentHome != "" {
		home = g.path(o.agentHome)
	}
	if err := u.SetHome(home, agentHomes); err != nil {
		return err
	}
	if err := closeToUser(u, cfg.DataDir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if cfg.Journal != "" && cfg.Journal != app.MemoryJournal {
		if err := u.CannotWrite(cfg.Journal); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	if err := u.Do(func() error { return executable(cfg.SelfExe) }); err != nil {
		cfg.Logger.Warn("the agent mock does not run: user "+u.Name+" may not run this program; put it where every user can", "error", err)
	}
	cfg.User, cfg.Home = u, u.Home
	return nil
}

// closeToUser makes a directory unreadable for a user, who must not be able to put
// another one in its place.
func closeToUser(u *user.User, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if err := u.CannotWrite(dir); err != nil {
		return err
	}
	// One of another owner would be that one's to open again.
	if err := os.Chown(dir, os.Geteuid(), -1); err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()&0o700)
}

// executable returns an error if the file of a program cannot be opened.
func executable(path string) error {
	if path == "" {
		return errors.New("its path is not known")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

package run

import (
	"crypto/rand"
	"encoding/hex"
	"os/user"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/shim"
	"github.com/sandboxagent/sandboxagent/internal/shim/model"
	"github.com/sandboxagent/sandboxagent/provider"
)

// access looks for the model keys of a user. They stay in the memory of the shim.
func (b *box) access(u shim.User) (*model.Access, error) {
	access, err := model.Discover(u.Env, homeOf(u))
	if err != nil {
		return nil, api.InvalidRequest(api.CodeInvalidSpec, "network %s: %w", b.record.Spec.Network, err)
	}
	return access, nil
}

// homeOf returns the home directory of a user, or the empty string.
func homeOf(u shim.User) string {
	for _, kv := range u.Env {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok && home != "" {
			return home
		}
	}
	if current, err := user.Current(); err == nil {
		return current.HomeDir
	}
	return ""
}

// reachable returns the model providers that the sandbox reaches, nil if its network
// has no forwarder to them.
func (b *box) reachable() []string {
	if b.models == nil {
		return nil
	}
	return b.models.Access().Reachable()
}

// warnings are what the user has to know about the sandbox.
func (b *box) warnings() []string {
	if b.models == nil || len(b.reachable()) > 0 {
		return nil
	}
	return []string{"no credentials for a model were found, so agents in the sandbox have none; set ANTHROPIC_API_KEY, OPENAI_API_KEY, or GEMINI_API_KEY and run: sandbox-agent sandbox keys " + b.dir.ID()}
}

// setKeys forwards with the keys of a user from now on.
func (b *box) setKeys(u *shim.User) (warnings []string, err error) {
	if b.models == nil {
		return nil, provider.Unsupported("the network of this sandbox has no forwarder to models; make one with network %s", provider.NetworkModel)
	}
	if u == nil {
		return nil, api.InvalidRequest("", "the request for keys names no user")
	}
	access, err := b.access(*u)
	if err != nil {
		return nil, err
	}
	b.models.SetAccess(access)
	b.status.Models = access.Reachable()
	return b.warnings(), b.dir.WriteStatus(b.status)
}

// newPhantom returns what stands in for a key in a sandbox. It opens nothing: the
// forwarder knows a sandbox by its socket.
func newPhantom() string {
	var random [16]byte
	rand.Read(random[:])
	return "sk-sandbox-" + hex.EncodeToString(random[:])
}

package agents

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

// Credential returns the credential that the agent uses, for a provider if one is
// named. Without one it is that of the first of its providers that has one; the
// last resort of an agent that takes any is the only other one that was found.
func (a Agent) Credential(found credentials.Found, provider string) (credentials.Credential, error) {
	wanted := a.Credentials.Providers
	if provider != "" {
		if !slices.Contains(wanted, provider) && !slices.Contains(wanted, "*") {
			return credentials.Credential{}, fmt.Errorf("agent %s only supports provider %s", a.Name, strings.Join(wanted, " or "))
		}
		wanted = []string{provider}
	}
	for _, name := range wanted {
		if cred, ok := found.Provider(name); ok {
			return cred, nil
		}
	}
	if provider == "" && slices.Contains(wanted, "*") && len(found.Other) == 1 {
		for _, cred := range found.Other {
			return cred, nil
		}
	}
	return credentials.Credential{}, fmt.Errorf("no credentials found for agent %s", a.ID)
}

// NeedsModel reports whether the agent does nothing without a model provider.
func (a Agent) NeedsModel() bool { return !a.Credentials.none() }

// satisfied reports whether there is a credential for one of the providers.
func (n CredentialNeeds) satisfied(found credentials.Found) bool {
	return slices.ContainsFunc(n.Providers, func(provider string) bool {
		if provider == "*" {
			return len(found.Other) > 0
		}
		_, ok := found.Provider(provider)
		return ok
	})
}

// SignIn returns the methods by which an agent can sign in without a person, best
// first. An agent of which none are known may be one of the others under another
// name, so it has theirs.
func (c *Catalogue) SignIn(id string) []string {
	if a, err := c.Agent(id); err == nil && len(a.SignIn) > 0 {
		return slices.Clone(a.SignIn)
	}
	var all []string
	for _, a := range c.agents {
		all = append(all, a.SignIn...)
	}
	return all
}

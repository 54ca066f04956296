package permission

import (
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// An act is one thing that a call does, or may do: a simple command, or something
// that is done to one path.
type act struct {
	kind     string
	text     string    // what it is, for people
	command  bool      // a simple command, whose words stand in words
	words    []word    // nil where the command is not known
	names    []string  // other names of its program: without its directory, and of the file that it is a link to
	steps    []step    // all of a plain line, of which this is one command
	path     *target   // nil for a command, and where none is known
	anywhere bool      // it touches a path that is not known
	mentions []*target // paths that a command, or the call around it, names

	unclear string // why it is not understood; no rule allows it then
	may     bool   // the call may do this: a rule that matches it asks, at most
	inner   bool   // stands behind a wrapper: neither allowed nor left to the default
	named   bool   // a command names the path; rules without a path do not see it
}

// A match is how surely a rule matches an act.
type match int

const (
	no match = iota
	maybe
	yes
)

// A rule is one rule of the policy or of those remembered, ready to be matched.
type rule struct {
	api.PermissionRule
	remembered bool
	command    *pattern // nil without one, and for one that cannot be read: that allows nothing, and may match any command
	path       *glob    // nil without one
}

// matches reports how a rule matches an act. What allows has to match for certain
// and in every path; what rejects or asks needs one.
func (r *rule) matches(a *act) match {
	if r.Kind != "" && r.Kind != a.kind || a.named && r.path == nil {
		return no
	}
	if r.Decision == api.DecideAllow {
		return r.allows(a)
	}
	found := yes
	if r.Command != "" {
		if a.kind != acp.ToolExecute {
			return no
		}
		found = r.command.matches(a)
	}
	if r.path != nil {
		found = min(found, r.path.touched(a))
	}
	if a.may {
		found = min(found, maybe)
	}
	return found
}

func (r *rule) allows(a *act) match {
	switch {
	case a.unclear != "" || a.inner || a.named || a.may:
		return no
	case (a.command || a.kind == acp.ToolExecute) && r.Command == "":
		return no // a kind or a path alone covers no command
	case r.Command != "" && (!a.command || r.command.allows(a) != yes):
		return no
	case r.path != nil && !r.path.covers(a):
		return no
	case r.remembered && a.path != nil && a.path.protected() != "":
		return no
	}
	return yes
}

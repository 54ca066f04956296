// Package reaper gives a server a small parent of the same program.
//
// The parent is the process that a client, systemd or a container starts, and the
// one whose id is printed. It starts the program again as its child, the server proper,
// passes signals on to it, and ends as it ends. Both are subreapers, and so each
// ends what the other one leaves behind:
//
//   - When the server is killed, its orphans become children of the parent, which
//     kills them, whatever session or environment they made themselves.
//   - When the parent is killed, the kernel sends the server a signal, and the server
//     kills all its descendants and itself. The lock on its data ends with it.
//
// Only a SIGKILL to both at once leaves something behind, and that is what the guard
// of package child is for. docs/design/0008-parent-of-the-server.md has the reasons.
//
// The parent lives as long as the server, so it has to be small: package early makes
// it before most packages are initialised, and this one imports little.
package reaper

import (
	"os"
	"slices"
	"strings"
)

// variable has the id of the parent, for the server. It is taken out of the environment
// before anything else reads that.
const variable = "SANDBOX_AGENT_PARENT"

// parent is the id of the parent of this server, or 0. It is set before main.
var parent int

// PID returns the id of the process that stands for this program: what a client
// signals, and what it sees end. That is the parent of the server, if there is one.
func PID() int {
	if parent != 0 {
		return parent
	}
	return os.Getpid()
}

// serves reports whether the arguments surely are those of a server that is to have a
// parent. It may say no
// for one whose flags stand before the name of the command.
func serves(args []string) bool {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	switch {
	case slices.Contains(args, "--no-parent"):
		return false
	case len(args) > 0 && args[0] == "server":
		return true
	case len(args) > 1 && args[0] == "daemon" && args[1] == "serve":
		return true
	}
	return false
}

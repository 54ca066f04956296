// Package early makes the parent of a server before other packages are initialised.
//
// The linker initialises packages that import little first, in the order of their
// paths. This one is initialised right after os/signal, and so the parent never holds
// what the other packages of this program make, and the server does not wait for it.
// Only a main package may import it: it looks at the arguments of the program.
package early

import "github.com/sandboxagent/sandboxagent/internal/child/reaper"

func init() { reaper.Early() }

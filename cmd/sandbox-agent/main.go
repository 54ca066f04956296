// Command sandbox-agent runs coding agents inside a sandbox and serves them, and
// the machine around them, over HTTP.
package main

import (
	"os"

	_ "github.com/sandboxagent/sandboxagent/internal/child/reaper/early" // the parent of a server
	"github.com/sandboxagent/sandboxagent/internal/cli"
)

func main() { os.Exit(cli.Main(cli.System())) }

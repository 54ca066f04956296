// Command sandbox-agent runs coding agents inside a sandbox and serves them, and
// the machine around them, over HTTP.
package main

import (
	"os"

	"github.com/sandboxagent/sandboxagent/internal/cli"
)

func main() { os.Exit(cli.Main(cli.System())) }

package cli

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
)

// number is the version of this program, by https://semver.org. The commit that it
// is built from follows as build metadata.
const number = "0.5.0"

// commit is set by the linker: -X .../internal/cli.commit=1a2b3c4. Without it the
// one that the Go command has noted counts.
var commit string

// Version describes this build.
func Version() api.Version {
	v := api.Version{Name: "sandbox-agent", Version: number, Commit: commit}
	info, ok := debug.ReadBuildInfo()
	if ok {
		v.GoVersion = info.GoVersion
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				v.Commit = setting.Value
			case "GOOS":
				v.OS = setting.Value
			case "GOARCH":
				v.Arch = setting.Value
			}
		}
	}
	if built := cmp.Or(commit, v.Commit[:min(len(v.Commit), 7)]); built != "" {
		v.Version += "+" + built
	}
	return v
}

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  sandbox-agent version --json",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := Version()
			if g.json {
				return printJSON(g.env.Out, v)
			}
			_, err := fmt.Fprintf(g.env.Out, "sandbox-agent %s (%s, %s/%s)\n", v.Version, v.GoVersion, v.OS, v.Arch)
			return err
		},
	}
}

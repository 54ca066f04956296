package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

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

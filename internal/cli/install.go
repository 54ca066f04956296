package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
)

// installReport is what install-agent prints, in the words of the earlier
// command line, which are not those of the HTTP API.
type installReport struct {
	AlreadyInstalled bool             `json:"alreadyInstalled"`
	Artifacts        []reportArtifact `json:"artifacts"`
}

type reportArtifact struct {
	Kind    string  `json:"kind"`
	Path    string  `json:"path"`
	Source  string  `json:"source"`
	Version *string `json:"version"`
}

func newInstallAgent(g *globals) *cobra.Command {
	var req api.AgentInstallRequest
	var all bool
	cmd := &cobra.Command{
		Use:   "install-agent AGENT | --all",
		Short: "Install an agent on this machine, and print what was done as JSON",
		Long: `Install an agent on this machine, and print what was done as JSON: the command of
the earlier server. sandbox-agent agents install does the same for people.

--all installs every agent that can be installed and prints nothing on standard
output. One that fails does not keep the others from it, and is an error.`,
		Example: `  sandbox-agent install-agent claude
  sandbox-agent install-agent --all`,
		Args:              arguments(0, 1),
		ValidArgsFunction: g.completeAgent,
		RunE: g.local(func(ctx context.Context, args []string) error {
			switch {
			case all && len(args) > 0:
				return usagef("give an agent or --all, not both")
			case all && (req.AgentVersion != "" || req.AgentProcessVersion != ""):
				return errors.New("--agent-version and --agent-process-version need one agent, not --all")
			case all:
				return g.installAll(ctx, req)
			case len(args) == 0:
				return usagef("which agent? give its id, or --all")
			}
			steps := &installSteps{g: g}
			result, err := g.catalogue().Install(ctx, args[0], req, steps.tell)
			steps.end()
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, reportInstall(result))
		}),
	}
	installFlags(cmd, &req)
	cmd.Flags().BoolVar(&all, "all", false, "install every agent that can be installed")
	return cmd
}

func (g *globals) installAll(ctx context.Context, req api.AgentInstallRequest) error {
	catalogue := g.catalogue()
	var failed []error
	for _, a := range catalogue.Agents() {
		if len(a.Packages) == 0 && a.Builtin == nil {
			continue
		}
		steps := &installSteps{g: g}
		_, err := catalogue.Install(ctx, a.ID, req, steps.tell)
		steps.end()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func reportInstall(result *api.AgentInstallResult) installReport {
	report := installReport{AlreadyInstalled: result.AlreadyInstalled, Artifacts: []reportArtifact{}}
	for _, a := range result.Artifacts {
		report.Artifacts = append(report.Artifacts, reportArtifact{Kind: camel(a.Kind), Path: a.Path, Source: camel(a.Source), Version: a.Version})
	}
	return report
}

// camel turns native_agent into NativeAgent.
func camel(snake string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(snake, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands returns every command, in the order of the help text.
func commands(g *globals) []*cobra.Command {
	return []*cobra.Command{
		newRun(g),
		newServer(g),
		newSessions(g),
		newPermissions(g),
		newAgents(g),
		newFS(g),
		newProcess(g),
		newTerminal(g),
		newConfig(g),
		newSandbox(g),
		newHealth(g),
		newInspector(g),
		newDoctor(g),
		newCredentials(g),
		newDaemon(g),
		newInstallAgent(g),
		newAPI(g),
		newVersion(g),
		newMock(g),
		newFakeModel(g),
		newShim(g),
		newEnterNetwork(g),
	}
}

// Reference returns the reference of the command line as Markdown.
func Reference() []byte {
	var out bytes.Buffer
	out.WriteString("# Command line\n\nGenerated from the program; `sandbox-agent COMMAND --help` prints the same.\n")
	describe(&out, newRoot(&globals{}))
	return out.Bytes()
}

func describe(out *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Hidden {
		return
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short
	}
	fmt.Fprintf(out, "\n## %s\n\n```\n%s\n```\n\n```\nUsage: %s\n", cmd.CommandPath(), strings.TrimSpace(long), cmd.UseLine())
	var flags []string
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		kind, usage := pflag.UnquoteUsage(f)
		flags = append(flags, fmt.Sprintf("  %-36s %s", strings.TrimSpace(name+" "+kind), usage))
	})
	if cmd.Example != "" {
		out.WriteString("\nExamples:\n" + cmd.Example + "\n")
	}
	if len(flags) > 0 {
		out.WriteString("\nFlags:\n" + strings.Join(flags, "\n") + "\n")
	}
	out.WriteString("```\n")
	for _, sub := range cmd.Commands() {
		describe(out, sub)
	}
}

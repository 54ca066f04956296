package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
)

// agentSource is where the commands on agents look: a server, or this machine.
type agentSource interface {
	list(ctx context.Context, config bool) ([]api.AgentInfo, error)
	show(ctx context.Context, id string) (*api.AgentInfo, error)
	install(ctx context.Context, id string, req api.AgentInstallRequest, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error)
	uninstall(ctx context.Context, id string) error
}

// agentSource returns the server if one was named, else this machine.
func (g *globals) agentSource() agentSource {
	if g.givenEndpoint() != "" {
		return serverAgents{g, g.dial()}
	}
	return localAgents{g.catalogue()}
}

type localAgents struct{ *agents.Catalogue }

func (l localAgents) list(ctx context.Context, config bool) ([]api.AgentInfo, error) {
	return l.List(ctx, agents.InfoOptions{Config: config}).Agents, nil
}

func (l localAgents) show(ctx context.Context, id string) (*api.AgentInfo, error) {
	return l.Info(ctx, id, agents.InfoOptions{Config: true})
}

func (l localAgents) install(ctx context.Context, id string, req api.AgentInstallRequest, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error) {
	return l.Install(ctx, id, req, progress)
}

func (l localAgents) uninstall(ctx context.Context, id string) error { return l.Uninstall(ctx, id) }

type serverAgents struct {
	g *globals
	c *sandboxagent.Client
}

func (s serverAgents) list(ctx context.Context, config bool) ([]api.AgentInfo, error) {
	list, err := s.c.Agents(ctx, sandboxagent.AgentsOptions{Config: config})
	return list, s.g.explain(s.c, err)
}

func (s serverAgents) show(ctx context.Context, id string) (*api.AgentInfo, error) {
	info, err := s.c.Agent(ctx, id, sandboxagent.AgentsOptions{Config: true})
	return info, s.g.explain(s.c, err)
}

func (s serverAgents) install(ctx context.Context, id string, req api.AgentInstallRequest, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error) {
	result, err := s.c.InstallAgent(ctx, id, sandboxagent.InstallAgentOptions{AgentInstallRequest: req, OnProgress: progress})
	return result, s.g.explain(s.c, err)
}

func (s serverAgents) uninstall(ctx context.Context, id string) error {
	return s.g.explain(s.c, s.c.UninstallAgent(ctx, id))
}

func newAgents(g *globals) *cobra.Command {
	cmd := noun(g, "agents", "List, install and remove agents",
		`List, install and remove agents: on this machine, or with --endpoint on a server.

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood.`,
		newAgentsList(g), newAgentsShow(g), newAgentsInstall(g), newAgentsUninstall(g))
	cmd.Example = `  sandbox-agent agents list
  sandbox-agent agents install claude
  sandbox-agent agents list --endpoint http://127.0.0.1:2468`
	return g.endpointFlag(cmd, "this machine without a server")
}

// completeAgent completes the id of an agent as the only argument.
func (g *globals) completeAgent(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []cobra.Completion
	for _, a := range g.catalogue().Agents() {
		ids = append(ids, cobra.CompletionWithDesc(a.ID, a.Name))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newAgentsList(g *globals) *cobra.Command {
	var config bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the agents, installed or not",
		Long: `List the agents, installed or not: id, whether it could work, version, name.

An agent is ready when it is installed and a credential for it was found; it may
still be refused by its vendor. See sandbox-agent doctor for why one is not.`,
		Example: "  sandbox-agent agents list --versions",
		Args:    arguments(0, 0),
		RunE: g.local(func(ctx context.Context, _ []string) error {
			list, err := g.agentSource().list(ctx, config)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, api.AgentList{Agents: list})
			}
			t := table{give: []int{3, 2}}
			t.row("AGENT", "STATE", "VERSION", "NAME")
			for _, a := range list {
				version := a.Version
				if version == "" {
					version = "-"
				}
				t.row(a.ID, agentState(a), version, a.Name)
			}
			return t.print(g)
		}),
	}
	cmd.Flags().BoolVar(&config, "versions", false, "also tell versions, and with --json paths and settings; runs the agents' programs")
	return cmd
}

// agentState is one word, so that columns stay columns.
func agentState(a api.AgentInfo) string {
	switch {
	case !a.Installed:
		return "not-installed"
	case !a.CredentialsAvailable:
		return "no-credentials"
	case a.ServerStatus != nil && a.ServerStatus.Status == "running":
		return "running"
	}
	return "ready"
}

func newAgentsShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "show AGENT",
		Short:             "Describe one agent",
		Long:              "Describe one agent: whether it is installed, from where it is started, whether and how it\nasks before it acts, what it can do and which settings it has.",
		Example:           "  sandbox-agent agents show mock",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeAgent,
		RunE: g.local(func(ctx context.Context, args []string) error {
			info, err := g.agentSource().show(ctx, args[0])
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, info)
			}
			return g.printAgent(info)
		}),
	}
}

func (g *globals) printAgent(a *api.AgentInfo) error {
	t := table{rows: [][]string{{}}}
	field := func(name, value string) {
		if value != "" {
			t.row(g.colour(bold, name), value)
		}
	}
	field("agent", a.ID)
	field("name", a.Name)
	field("state", agentState(*a))
	field("version", a.Version)
	field("path", a.Path)
	field("started by", string(a.Source))
	field("note", a.Note)
	field("problem", a.ConfigError)
	field("asks before it acts", agents.AskingWords(a.Asking))
	field("can do", strings.Join(capabilities(a.Capabilities), ", "))
	for _, o := range a.ConfigOptions {
		values := make([]string, len(o.Options))
		for i, v := range o.Options {
			values[i] = v.Value
			if v.Value == o.CurrentValue {
				values[i] += " (default)"
			}
		}
		field(o.ID, strings.Join(values, ", "))
	}
	if g.env.OutTerminal {
		t.rows = t.rows[1:]
	}
	return t.print(g)
}

// capabilities names what an agent can do beyond what all of them can.
func capabilities(c api.AgentCapabilities) []string {
	var names []string
	for _, can := range []struct {
		name string
		yes  bool
	}{
		{"plan", c.PlanMode}, {"ask permissions", c.Permissions}, {"ask questions", c.Questions}, {"call tools", c.ToolCalls},
		{"run commands", c.CommandExecution}, {"change files", c.FileChanges}, {"use MCP servers", c.MCPTools},
		{"see images", c.Images}, {"take files", c.FileAttachments}, {"show its reasoning", c.Reasoning},
		{"stream", c.StreamingDeltas}, {"keep sessions", c.SessionLifecycle},
	} {
		if can.yes {
			names = append(names, can.name)
		}
	}
	return names
}

// installFlags are the flags of every command that installs.
func installFlags(cmd *cobra.Command, req *api.AgentInstallRequest) {
	f := cmd.Flags()
	f.BoolVarP(&req.Reinstall, "reinstall", "r", false, "install again what is already installed")
	f.StringVar(&req.AgentVersion, "agent-version", "", "version of the vendor's own program")
	f.StringVar(&req.AgentProcessVersion, "agent-process-version", "", "version of the program that speaks ACP")
}

// installSteps tells the steps of an install on standard error. On a terminal
// the steps of a phase share a line; elsewhere the first of each phase is told.
type installSteps struct {
	g     *globals
	phase string
	open  bool // a line of the terminal is not ended
}

// stepWidth is how much of a step is shown where it must stay on one line, in
// characters.
const stepWidth = 78

func (s *installSteps) tell(e api.AgentInstallEvent) {
	same := e.Phase == s.phase
	if s.g.json || same && !s.g.env.ErrTerminal {
		return
	}
	s.phase = e.Phase
	text := []rune(fmt.Sprintf("%s: %s: %s", e.Agent, e.Phase, e.Message))
	if !s.g.env.ErrTerminal {
		fmt.Fprintln(s.g.env.Err, string(text))
		return
	}
	if !same {
		s.end()
	}
	s.open = true
	fmt.Fprintf(s.g.env.Err, "\r%s%s", eraseLine, string(text[:min(len(text), stepWidth)]))
}

// end ends the line that is open.
func (s *installSteps) end() {
	if s.open {
		fmt.Fprintln(s.g.env.Err)
		s.open = false
	}
}

func newAgentsInstall(g *globals) *cobra.Command {
	var req api.AgentInstallRequest
	var sandboxes bool
	cmd := &cobra.Command{
		Use:   "install AGENT",
		Short: "Install an agent",
		Long: `Install an agent from npm into the data directory, in the version that this program
was tested with unless another is asked for. What is installed already stays.
The steps are told on standard error, what was put in place on standard output.

--sandboxes installs it for the sandboxes of this machine as well, with a Node.js of
its own, also if the agent is elsewhere on PATH; sandbox create --agent does so too.`,
		Example: `  sandbox-agent agents install claude
  sandbox-agent agents install codex --reinstall --json`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeAgent,
		RunE: g.local(func(ctx context.Context, args []string) error {
			if sandboxes && g.givenEndpoint() != "" {
				return usagef("--sandboxes installs on this machine; leave out --endpoint and --sandbox")
			}
			steps := &installSteps{g: g}
			result, err := g.agentSource().install(ctx, args[0], req, steps.tell)
			if err == nil && sandboxes {
				err = g.catalogue().Share(ctx, args[0], steps.tell)
			}
			steps.end()
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, result)
			}
			if result.AlreadyInstalled {
				_, err := fmt.Fprintf(g.env.Out, "%s is installed already\n", args[0])
				return err
			}
			for _, a := range result.Artifacts {
				version := ""
				if a.Version != nil {
					version = " " + *a.Version
				}
				if _, err := fmt.Fprintf(g.env.Out, "installed %s%s: %s\n", strings.ReplaceAll(a.Kind, "_", " "), version, a.Path); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	installFlags(cmd, &req)
	cmd.Flags().BoolVar(&sandboxes, "sandboxes", false, "install it for the sandboxes of this machine as well")
	return cmd
}

func newAgentsUninstall(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall AGENT",
		Short: "Remove an installed agent",
		Long: `Remove what the data directory has of an agent. One that is installed elsewhere, say
with the package manager of the system, is left alone, and that is an error.`,
		Example:           "  sandbox-agent agents uninstall claude",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeAgent,
		RunE: g.local(func(ctx context.Context, args []string) error {
			source := g.agentSource()
			info, err := source.show(ctx, args[0])
			if err != nil {
				return err
			}
			if err := source.uninstall(ctx, args[0]); err != nil || info.Installed {
				return err
			}
			return fmt.Errorf("uninstall %s: it is not installed; see sandbox-agent agents list", args[0])
		}),
	}
}

package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func newAPI(g *globals) *cobra.Command {
	cmd := noun(g, "api", "Call the HTTP API, with the commands of the earlier server",
		`Call the HTTP API with the commands of the earlier server, whose output programs
may rely on: JSON on standard output, and with an error the problem document on
standard error and exit code 1.`,
		noun(g, "agents", "List and install agents on a server", "List and install agents on a server.",
			newAPIAgentsList(g), newAPIAgentsReport(g), newAPIAgentsInstall(g)),
		noun(g, "acp", "Speak the Agent Client Protocol with an agent on a server", "Speak the Agent Client Protocol with an agent on a server, frame by frame.",
			newACPPost(g), newACPStream(g), newACPClose(g)))
	return g.endpointFlag(cmd, defaultEndpoint)
}

// machine is remote for commands whose errors are for programs.
func (g *globals) machine(do remoteFunc) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		g.json = true
		return g.remote(do)(cmd, args)
	}
}

func newAPIAgentsList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "Print the agents of a server as JSON",
		Long:    "Print the agents of a server as JSON, with versions and settings.",
		Example: "  sandbox-agent api agents list --endpoint http://127.0.0.1:2468",
		Args:    arguments(0, 0),
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			list, err := c.Agents(ctx, sandboxagent.AgentsOptions{Config: true})
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, api.AgentList{Agents: list})
		}),
	}
}

// agentsReport is what api agents report prints.
type agentsReport struct {
	GeneratedAtMs int64         `json:"generatedAtMs"`
	Endpoint      string        `json:"endpoint"`
	Agents        []agentReport `json:"agents"`
}

type agentReport struct {
	ID            string         `json:"id"`
	Installed     bool           `json:"installed"`
	ConfigError   string         `json:"configError,omitempty"`
	Models        settingChoices `json:"models"`
	Modes         settingChoices `json:"modes"`
	ThoughtLevels settingChoices `json:"thoughtLevels"`
}

type settingChoices struct {
	CurrentValue string          `json:"currentValue,omitempty"`
	Values       []settingChoice `json:"values"`
}

type settingChoice struct {
	Value string `json:"value"`
	Name  string `json:"name"`
}

func newAPIAgentsReport(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "report",
		Short:   "Print the models, modes and thought levels of all agents as JSON",
		Long:    "Print the models, modes and thought levels of all agents of a server as JSON,\nsorted by value.",
		Example: "  sandbox-agent api agents report",
		Args:    arguments(0, 0),
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			list, err := c.Agents(ctx, sandboxagent.AgentsOptions{Config: true})
			if err != nil {
				return err
			}
			report := agentsReport{GeneratedAtMs: time.Now().UnixMilli(), Endpoint: c.BaseURL(), Agents: []agentReport{}}
			for _, a := range list {
				report.Agents = append(report.Agents, agentReport{
					ID: a.ID, Installed: a.Installed, ConfigError: a.ConfigError,
					Models:        choices(a.ConfigOptions, "model"),
					Modes:         choices(a.ConfigOptions, "mode"),
					ThoughtLevels: choices(a.ConfigOptions, "thought_level"),
				})
			}
			return printJSON(g.env.Out, report)
		}),
	}
}

func choices(options []api.AgentConfigOption, category string) settingChoices {
	found := settingChoices{Values: []settingChoice{}}
	for _, o := range options {
		if o.Category != category {
			continue
		}
		found.CurrentValue = o.CurrentValue
		for _, v := range o.Options {
			found.Values = append(found.Values, settingChoice{Value: v.Value, Name: v.Name})
		}
	}
	slices.SortFunc(found.Values, func(a, b settingChoice) int { return cmp.Compare(a.Value, b.Value) })
	return found
}

func newAPIAgentsInstall(g *globals) *cobra.Command {
	var req api.AgentInstallRequest
	cmd := &cobra.Command{
		Use:               "install AGENT",
		Short:             "Install an agent on a server, and print what was done as JSON",
		Long:              "Install an agent on a server, and print what was done as JSON. An agent that the\nserver does not know, or cannot install, is an error.",
		Example:           "  sandbox-agent api agents install claude --reinstall",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeAgent,
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			result, err := c.InstallAgent(ctx, args[0], sandboxagent.InstallAgentOptions{AgentInstallRequest: req})
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, result)
		}),
	}
	installFlags(cmd, &req)
	return cmd
}

// connectionFlag is the id of a connection, which every acp command needs.
func connectionFlag(cmd *cobra.Command, id *string) {
	cmd.Flags().StringVar(id, "server-id", "", "id of the connection, chosen by you (required)")
	must(cmd.MarkFlagRequired("server-id"))
}

// acpRequest does one exchange of a connection. The SDK has sessions in place
// of connections, so these commands speak HTTP themselves; the caller closes
// the body.
func (g *globals) acpRequest(ctx context.Context, c *sandboxagent.Client, method, id string, query url.Values, header http.Header, body []byte) (*http.Response, error) {
	target := c.BaseURL() + "/v1/acp/" + url.PathEscape(id)
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("%w", err)
	}
	for key, values := range header {
		req.Header[key] = values
	}
	if token := g.bearer(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	problem := new(api.Error)
	if json.Unmarshal(text, problem) != nil || problem.Title == "" {
		return nil, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil, problem
}

func newACPPost(g *globals) *cobra.Command {
	var id, agent, frame, file string
	cmd := &cobra.Command{
		Use:   "post",
		Short: "Send one frame to an agent, and print the reply",
		Long: `Send one JSON-RPC frame to an agent, and print the reply, which only a request has.
The first frame of a connection starts the agent and needs --agent. The frame is
read from standard input without --json and --json-file.`,
		Example: `  sandbox-agent api acp post --server-id one --agent mock \
    --json '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}'`,
		Args: arguments(0, 0),
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			body, err := g.readFrame(frame, file)
			if err != nil {
				return err
			}
			query := url.Values{}
			if agent != "" {
				query.Set("agent", agent)
			}
			resp, err := g.acpRequest(ctx, c, http.MethodPost, id, query, http.Header{"Content-Type": {"application/json"}}, body)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			reply, err := io.ReadAll(resp.Body)
			if err != nil || len(reply) == 0 {
				return err
			}
			var out bytes.Buffer
			if err := json.Indent(&out, reply, "", "  "); err != nil {
				return fmt.Errorf("read reply: %w", err)
			}
			out.WriteByte('\n')
			_, err = out.WriteTo(g.env.Out)
			return err
		}),
	}
	connectionFlag(cmd, &id)
	f := cmd.Flags()
	f.StringVar(&agent, "agent", "", "agent to start with the first frame")
	f.StringVar(&frame, "json", "", "the frame")
	f.StringVar(&file, "json-file", "", "file that has the frame; - is standard input")
	cmd.MarkFlagsMutuallyExclusive("json", "json-file")
	must(cmd.RegisterFlagCompletionFunc("agent", g.completeAgent))
	return cmd
}

func (g *globals) readFrame(frame, file string) ([]byte, error) {
	var data []byte
	var err error
	switch {
	case frame != "":
		data = []byte(frame)
	case file != "" && file != "-":
		data, err = os.ReadFile(g.path(file))
	default:
		data, err = io.ReadAll(g.env.In)
	}
	if err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	if !json.Valid(data) {
		return nil, usagef("the frame is not JSON: %.80s", strings.TrimSpace(string(data)))
	}
	return data, nil
}

// path returns a file name of this machine, as seen from the working directory.
func (g *globals) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(g.env.Dir, name)
}

func newACPStream(g *globals) *cobra.Command {
	var id, last string
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Print the events of a connection as they come",
		Long: `Print the events of a connection as they come, as server-sent events, until the
connection ends or you interrupt. Each has an id; with --last-event-id the stream
starts after that one.`,
		Example: "  sandbox-agent api acp stream --server-id one --last-event-id 0",
		Args:    arguments(0, 0),
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			header := http.Header{"Accept": {"text/event-stream"}}
			if last != "" {
				header.Set("Last-Event-ID", last)
			}
			resp, err := g.acpRequest(ctx, c, http.MethodGet, id, nil, header, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(g.env.Out, resp.Body)
			return err
		}),
	}
	connectionFlag(cmd, &id)
	cmd.Flags().StringVar(&last, "last-event-id", "", "start after this event; 0 is before the first")
	return cmd
}

func newACPClose(g *globals) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:     "close",
		Short:   "End a connection and its agent",
		Long:    "End a connection and its agent. One that does not exist is no error.",
		Example: "  sandbox-agent api acp close --server-id one",
		Args:    arguments(0, 0),
		RunE: g.machine(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			resp, err := g.acpRequest(ctx, c, http.MethodDelete, id, nil, nil, nil)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}),
	}
	connectionFlag(cmd, &id)
	return cmd
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func newConfig(g *globals) *cobra.Command {
	cmd := noun(g, "config", "Configure what agents in a sandbox are given",
		`Configure what agents in a sandbox are given: MCP servers and skills, for each
directory that they work in, and the limits of processes.

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood.`,
		newConfigMCP(g), newConfigSkills(g), newConfigProcess(g))
	return g.endpointFlag(cmd, defaultEndpoint)
}

// entries are the stored settings of one kind.
type entries[T any] struct {
	noun  string // for people
	all   func(ctx context.Context, c *sandboxagent.Client, dir string) (map[string]T, error)
	get   func(ctx context.Context, c *sandboxagent.Client, dir, name string) (*T, error)
	set   func(ctx context.Context, c *sandboxagent.Client, dir, name string, entry T) error
	rm    func(ctx context.Context, c *sandboxagent.Client, dir, name string) error
	whole func(map[string]T) any // as the API has a whole set
	line  func(T) string         // one on one line
}

// verbs returns the commands that all kinds have, besides set.
func (e entries[T]) verbs(g *globals, path string, dir *string) []*cobra.Command {
	complete := func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client := g.dial()
		defer client.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		all, err := e.all(ctx, client, g.onServer(ctx, client, *dir))
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(all)), cobra.ShellCompDirectiveNoFileComp
	}
	list := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List " + e.noun,
		Long:    "List the " + e.noun + " of a directory, sorted by name. With --json, as the API has them.",
		Example: "  sandbox-agent config " + path + " list --directory /work",
		Args:    arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			all, err := e.all(ctx, c, g.onServer(ctx, c, *dir))
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, e.whole(all))
			}
			t := table{give: []int{1}, none: "no " + e.noun + " for this directory"}
			t.row("NAME", "WHAT")
			for _, name := range slices.Sorted(maps.Keys(all)) {
				t.row(printable(name), e.line(all[name]))
			}
			return t.print(g)
		}),
	}
	get := &cobra.Command{
		Use:               "get NAME",
		Short:             "Print an entry as JSON",
		Long:              "Print one of the " + e.noun + " of a directory as JSON.",
		Example:           "  sandbox-agent config " + path + " get docs",
		Args:              arguments(1, 1),
		ValidArgsFunction: complete,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			entry, err := e.get(ctx, c, g.onServer(ctx, c, *dir), args[0])
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, entry)
		}),
	}
	remove := &cobra.Command{
		Use:               "rm NAME...",
		Short:             "Remove entries",
		Long:              "Remove entries of the " + e.noun + " of a directory. One that does not exist is not an error.",
		Example:           "  sandbox-agent config " + path + " rm docs",
		Args:              arguments(1, -1),
		ValidArgsFunction: complete,
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			for _, name := range args {
				if err := e.rm(ctx, c, g.onServer(ctx, c, *dir), name); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	return []*cobra.Command{list, get, remove}
}

// readEntry reads an entry from a file of this machine; - is standard input.
func readEntry[T any](g *globals, file string) (T, error) {
	var entry T
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(g.env.In)
	} else {
		data, err = os.ReadFile(g.path(file))
	}
	if err != nil {
		return entry, fmt.Errorf("read entry: %w", err)
	}
	if err := json.Unmarshal(data, &entry); err != nil {
		return entry, usagef("the entry is not as it should be: %w", err)
	}
	return entry, nil
}

// directoryFlag is the directory that settings are for.
func directoryFlag(cmd *cobra.Command, dir *string) *cobra.Command {
	cmd.PersistentFlags().StringVarP(dir, "directory", "d", "", "directory that agents work in (default the server's own)")
	return cmd
}

func newConfigMCP(g *globals) *cobra.Command {
	var dir string
	e := entries[api.MCPServer]{
		noun: "MCP servers",
		all: func(ctx context.Context, c *sandboxagent.Client, dir string) (map[string]api.MCPServer, error) {
			return c.MCPServers(ctx, dir)
		},
		get: func(ctx context.Context, c *sandboxagent.Client, dir, name string) (*api.MCPServer, error) {
			return c.MCPServer(ctx, dir, name)
		},
		set: func(ctx context.Context, c *sandboxagent.Client, dir, name string, entry api.MCPServer) error {
			return c.SetMCPServer(ctx, dir, name, entry)
		},
		rm: func(ctx context.Context, c *sandboxagent.Client, dir, name string) error {
			return c.DeleteMCPServer(ctx, dir, name)
		},
		whole: func(all map[string]api.MCPServer) any { return api.MCPServers{Servers: all} },
		line: func(s api.MCPServer) string {
			if s.Type == api.MCPRemote {
				return s.URL
			}
			words := append(slices.Clone([]string(s.Command)), s.Args...)
			if len(words) == 0 {
				return ""
			}
			return commandLine(api.ProcessInfo{Command: words[0], Args: words[1:]})
		},
	}
	cmd := noun(g, "mcp", "Configure MCP servers",
		"Configure the MCP servers that agents in a directory get when they start.",
		append(e.verbs(g, "mcp", &dir), newConfigMCPSet(g, e, &dir))...)
	return directoryFlag(cmd, &dir)
}

func newConfigMCPSet(g *globals, e entries[api.MCPServer], dir *string) *cobra.Command {
	var url, transport, bearer, cwd, file string
	var env, headers []string
	cmd := &cobra.Command{
		Use:   "set NAME [--url URL | --file FILE | COMMAND [ARG...]]",
		Short: "Add or replace an MCP server",
		Long: `Add or replace an MCP server: one that is a command, one at a URL, or any other as
JSON from a file of this machine.`,
		Example: `  sandbox-agent config mcp set files -- npx -y @modelcontextprotocol/server-filesystem /work
  sandbox-agent config mcp set docs --url https://example.com/mcp --header "X-Team=blue"
  sandbox-agent config mcp set other --file entry.json`,
		Args: arguments(1, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			if given := count(url != "", file != "", len(args) > 1); given != 1 {
				return usagef("what is %s? give a command, --url or --file, one of them", args[0])
			}
			entry := api.MCPServer{Type: api.MCPLocal, Command: args[1:], Cwd: cwd}
			var err error
			switch {
			case file != "":
				entry, err = readMCPServer(g, file)
			case url != "":
				entry = api.MCPServer{Type: api.MCPRemote, URL: url, Transport: transport, BearerTokenEnvVar: bearer}
				entry.Headers, err = pairs("--header", headers)
			default:
				entry.Command, entry.Args = args[1:2], args[2:]
				entry.Env, err = pairs("--env", env)
			}
			if err != nil {
				return err
			}
			return e.set(ctx, c, g.onServer(ctx, c, *dir), args[0], entry)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&url, "url", "", "address of a remote server")
	f.StringVar(&transport, "transport", "", "http or sse (default http)")
	f.StringArrayVar(&headers, "header", nil, "header for a remote server, as NAME=VALUE (repeatable)")
	f.StringVar(&bearer, "bearer-token-env-var", "", "variable of the server's environment that has a bearer token")
	f.StringArrayVar(&env, "env", nil, "variable for a command, as NAME=VALUE (repeatable)")
	f.StringVar(&cwd, "cwd", "", "directory that a command runs in")
	f.StringVar(&file, "file", "", "file with the entry as JSON; - is standard input")
	return cmd
}

// readMCPServer reads an entry, also with the names that other programs have for
// the same things.
func readMCPServer(g *globals, file string) (api.MCPServer, error) {
	entry, err := readEntry[struct {
		api.MCPServer
		Environment map[string]string `json:"environment"`
	}](g, file)
	if entry.Env == nil {
		entry.Env = entry.Environment
	}
	switch entry.Type {
	case "stdio":
		entry.Type = api.MCPLocal
	case "http":
		entry.Type = api.MCPRemote
	}
	return entry.MCPServer, err
}

// count says how many are true.
func count(all ...bool) int {
	n := 0
	for _, yes := range all {
		if yes {
			n++
		}
	}
	return n
}

// pairs reads NAME=VALUE pairs.
func pairs(flag string, given []string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(given))
	for _, pair := range given {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("%s %q is not of the form NAME=VALUE", flag, pair)
		}
		all[name] = value
	}
	return all, nil
}

func newConfigSkills(g *globals) *cobra.Command {
	var dir string
	e := entries[api.SkillsConfig]{
		noun: "skills",
		all: func(ctx context.Context, c *sandboxagent.Client, dir string) (map[string]api.SkillsConfig, error) {
			return c.Skills(ctx, dir)
		},
		get: func(ctx context.Context, c *sandboxagent.Client, dir, name string) (*api.SkillsConfig, error) {
			return c.Skill(ctx, dir, name)
		},
		set: func(ctx context.Context, c *sandboxagent.Client, dir, name string, entry api.SkillsConfig) error {
			return c.SetSkill(ctx, dir, name, entry)
		},
		rm: func(ctx context.Context, c *sandboxagent.Client, dir, name string) error {
			return c.DeleteSkill(ctx, dir, name)
		},
		whole: func(all map[string]api.SkillsConfig) any { return api.SkillsSet{Skills: all} },
		line: func(s api.SkillsConfig) string {
			sources := make([]string, len(s.Sources))
			for i, source := range s.Sources {
				sources[i] = source.Type + ":" + source.Source
			}
			return strings.Join(sources, " ")
		},
	}
	cmd := noun(g, "skills", "Configure skills",
		"Configure the skills that agents in a directory get when they start.",
		append(e.verbs(g, "skills", &dir), newConfigSkillsSet(g, e, &dir))...)
	return directoryFlag(cmd, &dir)
}

func newConfigSkillsSet(g *globals, e entries[api.SkillsConfig], dir *string) *cobra.Command {
	var github, git, local, file string
	var source api.SkillSource
	cmd := &cobra.Command{
		Use:   "set NAME --github OWNER/REPO | --git URL | --local PATH | --file FILE",
		Short: "Add or replace an entry of skills",
		Long: `Add or replace an entry of skills, from one source; an entry of several is given as
JSON from a file of this machine. A skill is a directory with a file SKILL.md.`,
		Example: `  sandbox-agent config skills set team --github acme/skills --skill review --ref v2
  sandbox-agent config skills set mine --local /workspace/skills`,
		Args: arguments(1, 1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			if given := count(github != "", git != "", local != "", file != ""); given != 1 {
				return usagef("where from? give --github, --git, --local or --file, one of them")
			}
			if file != "" {
				entry, err := readEntry[api.SkillsConfig](g, file)
				if err != nil {
					return err
				}
				return e.set(ctx, c, g.onServer(ctx, c, *dir), args[0], entry)
			}
			if local != "" {
				if err := g.wantSkills(ctx, c, *dir, local); err != nil {
					return err
				}
			}
			for kind, value := range map[string]string{"github": github, "git": git, "local": local} {
				if value != "" {
					source.Type, source.Source = kind, value
				}
			}
			return e.set(ctx, c, g.onServer(ctx, c, *dir), args[0], api.SkillsConfig{Sources: []api.SkillSource{source}})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&github, "github", "", "repository on GitHub, as OWNER/REPO")
	f.StringVar(&git, "git", "", "URL of a repository")
	f.StringVar(&local, "local", "", "directory of the sandbox")
	f.StringArrayVar(&source.Skills, "skill", nil, "skill to take (repeatable; default all)")
	f.StringVar(&source.Ref, "ref", "", "branch, tag or commit")
	f.StringVar(&source.Subpath, "subpath", "", "directory within the source to look in")
	f.StringVar(&file, "file", "", "file with the entry as JSON; - is standard input")
	return cmd
}

// wantSkills returns an error if a source of skills is not a directory of the server. A
// relative one begins in the directory that the skills are for.
func (g *globals) wantSkills(ctx context.Context, c *sandboxagent.Client, dir, local string) error {
	at := local
	if !path.IsAbs(at) {
		at = path.Join(g.onServer(ctx, c, dir), at)
	}
	info, err := c.Stat(ctx, at)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fmt.Errorf("set skills: %s is not a directory of the server; make it first, or name another with --local", at)
	}
	return err
}

func newConfigProcess(g *globals) *cobra.Command {
	get := &cobra.Command{
		Use:     "get",
		Short:   "Print the limits of processes as JSON",
		Long:    "Print the limits of processes as JSON.",
		Example: "  sandbox-agent config process get",
		Args:    arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, _ []string) error {
			config, err := c.ProcessConfig(ctx)
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, config)
		}),
	}
	set := &cobra.Command{
		Use:     "set NAME=VALUE...",
		Short:   "Change limits of processes",
		Long:    "Change limits of processes, by the names that get prints, until the server ends.\nPrints all of them.",
		Example: "  sandbox-agent config process set maxConcurrentProcesses=8 maxRunTimeoutMs=60000",
		Args:    arguments(1, -1),
		RunE: g.remote(func(ctx context.Context, c *sandboxagent.Client, args []string) error {
			patch, err := processPatch(args)
			if err != nil {
				return err
			}
			config, err := c.SetProcessConfig(ctx, patch)
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, config)
		}),
	}
	return noun(g, "process", "Limits of processes", "Read and change the limits of processes.", get, set)
}

// processPatch reads NAME=VALUE pairs by the names of the API.
func processPatch(args []string) (api.ProcessConfigPatch, error) {
	var patch api.ProcessConfigPatch
	values := make(map[string]json.RawMessage, len(args))
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || !json.Valid([]byte(value)) {
			return patch, usagef("%q is not of the form NAME=NUMBER", arg)
		}
		values[name] = json.RawMessage(value)
	}
	data, err := json.Marshal(values)
	if err != nil {
		return patch, usagef("%w", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&patch); err != nil {
		return patch, usagef("%w; see sandbox-agent config process get", err)
	}
	return patch, nil
}

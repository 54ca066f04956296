package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// knownAgents is what sessions have to know of agents: what the catalogue says of
// them, and what is configured for where they work.
type knownAgents struct {
	*agents.Catalogue
	settings *settings.Settings
	home     string     // of the server
	user     *user.User // who agents run as; nil means the user of the server
	log      *slog.Logger
}

// Known implements [session.Agents].
func (k knownAgents) Known(agent string) error {
	_, err := k.Agent(agent)
	return err
}

// Launch implements [session.Agents].
func (k knownAgents) Launch(ctx context.Context, agent string) (bridge.Spec, error) {
	var command agents.Command
	err := k.user.Do(func() (err error) {
		command, err = k.Catalogue.Launch(ctx, agent)
		return err
	})
	if err != nil {
		return bridge.Spec{}, err
	}
	return bridge.Spec{Path: command.Path, Args: command.Args, Env: command.Env, User: k.user, Dir: cmp.Or(command.Dir, k.startDirectory())}, nil
}

// startDirectory is where an agent starts whose session is not known yet: in that
// of the server, as an empty string says, unless it was removed, or agents run as
// another user, who may not enter it.
func (k knownAgents) startDirectory() string {
	if _, err := os.Getwd(); err == nil && k.user == nil {
		return ""
	}
	if info, err := os.Stat(k.home); err == nil && info.IsDir() {
		return k.home
	}
	return "/"
}

// CheckStored implements [session.Agents].
func (k knownAgents) CheckStored(what string, data []byte) (err error) {
	if what == session.StoredMCP {
		_, err = k.settings.MCP.Decode(data)
	} else {
		_, err = k.settings.Skills.Decode(data)
	}
	return err
}

// Prepare adds MCP servers to the parameters, and puts skills where the agent looks
// for them: those of the working directory, and those of the session, which win.
// Skills that cannot be had, and MCP servers that cannot be started or that the
// agent does not take, are returned as what it lacks; a broken configuration of MCP
// servers fails the request.
func (k knownAgents) Prepare(ctx context.Context, agent string, own session.Stored, params json.RawMessage) (prepared json.RawMessage, lacks []api.SessionNotice, err error) {
	err = k.user.Do(func() (err error) {
		prepared, lacks, err = k.prepare(ctx, agent, own, params)
		return err
	})
	return prepared, lacks, err
}

func (k knownAgents) prepare(ctx context.Context, agent string, own session.Stored, params json.RawMessage) (prepared json.RawMessage, lacks []api.SessionNotice, err error) {
	var opened struct {
		CWD string `json:"cwd"`
	}
	if json.Unmarshal(params, &opened) != nil || opened.CWD == "" {
		return params, nil, nil // the agent is the one to say what is wrong with it
	}
	servers, err := decodeStored(k.settings.MCP, own.MCP)
	if err != nil {
		return nil, nil, err
	}
	if len(servers) > 0 {
		if params, err = k.settings.AddMCP(params, opened.CWD, servers); err != nil {
			return nil, nil, err
		}
	}
	if params, err = k.settings.MergeMCP(params, opened.CWD); err != nil {
		return nil, nil, err
	}
	a, err := k.Agent(agent)
	if err != nil {
		return params, nil, nil // a connection that is open already
	}
	if len(a.SkillDirs) > 0 {
		if err := k.installSkills(ctx, opened.CWD, own.Skills, a.SkillDirs); err != nil {
			lacks = append(lacks, api.SessionNotice{About: api.NoticeSkills, Text: fmt.Sprintf("skills could not be put where %s looks for them: %v", a.Name, err)})
		}
	}
	return params, append(lacks, k.lackingMCP(a, opened.CWD, params)...), nil
}

// lackingMCP returns the MCP servers in the parameters that the agent will not have.
func (k knownAgents) lackingMCP(a agents.Agent, cwd string, params json.RawMessage) (lacks []api.SessionNotice) {
	var given struct {
		MCPServers []acp.MCPServer `json:"mcpServers"`
	}
	if json.Unmarshal(params, &given) != nil {
		return nil // the agent is the one to say what is wrong with it
	}
	for _, server := range given.MCPServers {
		lack := func(why string) {
			text := fmt.Sprintf("%s works without the MCP server %s: %s", a.Name, server.Name, why)
			lacks = append(lacks, api.SessionNotice{About: api.NoticeMCP, Name: server.Name, Text: text})
		}
		transport := server.Type
		if server.Command != "" {
			transport = agents.MCPProgram
		}
		switch why := a.NoMCP[transport]; {
		case why != "":
			lack(why)
		case transport == agents.MCPProgram && !k.HasProgram(server.Command, cwd):
			lack(fmt.Sprintf("its program %s is not found; install it, or correct the command", server.Command))
		}
	}
	return lacks
}

// installSkills makes the directories in which an agent looks for skills hold those
// of the working directory, and of the session itself if it has any.
func (k knownAgents) installSkills(ctx context.Context, cwd string, stored []byte, targets []string) error {
	own, err := decodeStored(k.settings.Skills, stored)
	if err != nil || len(own) == 0 {
		return errors.Join(err, k.settings.InstallSkills(ctx, cwd, targets))
	}
	all, err := k.settings.Skills.All(cwd)
	if err != nil {
		return err
	}
	both := maps.Clone(all)
	maps.Copy(both, own)
	return k.settings.InstallEntries(ctx, cwd, both, targets)
}

// decodeStored reads what is stored for a session. It is never nil without an error.
func decodeStored[Entry any](set *settings.Set[Entry], data []byte) (map[string]Entry, error) {
	if len(data) == 0 {
		return map[string]Entry{}, nil
	}
	return set.Decode(data)
}

// Options returns the choices that the catalogue knows of an agent.
func (k knownAgents) Options(id string) []acp.ConfigOption {
	a, err := k.Agent(id)
	if err != nil {
		return nil
	}
	var list []acp.ConfigOption
	for _, o := range a.Options {
		option := acp.ConfigOption{ID: o.ID, Name: o.Name, Category: o.Category, Type: o.Type, CurrentValue: o.CurrentValue}
		for _, v := range o.Options {
			option.Options = append(option.Options, acp.ConfigValue{Value: v.Value, Name: v.Name})
		}
		list = append(list, option)
	}
	return list
}

// Explain adds to the data of an error what people can do about it, where the
// agent is known to leave that out, and what the agent said on standard error.
func (k knownAgents) Explain(agent string, frame []byte, stderr []string) []byte {
	a, err := k.Agent(agent)
	if err != nil || len(a.Hints) == 0 {
		return frame
	}
	var reply struct {
		ID    json.RawMessage `json:"id"`
		Error struct {
			Code    int                        `json:"code"`
			Message string                     `json:"message"`
			Data    map[string]json.RawMessage `json:"data"`
		} `json:"error"`
	}
	var details string
	if json.Unmarshal(frame, &reply) != nil || json.Unmarshal(reply.Error.Data["details"], &details) != nil {
		return frame
	}
	for part, hint := range a.Hints {
		if !strings.Contains(details, part) {
			continue
		}
		data := reply.Error.Data
		data["hint"], _ = json.Marshal(hint)
		data["agentStderr"], _ = json.Marshal(strings.Join(stderr, "\n"))
		explained := acp.RPCError{Code: reply.Error.Code, Message: reply.Error.Message}
		explained.Data, _ = json.Marshal(data)
		if said, err := acp.ErrorFrame(reply.ID, &explained); err == nil {
			return said
		}
	}
	return frame
}

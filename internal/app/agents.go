package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
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
// Skills that cannot be had are logged; a broken configuration of MCP servers fails
// the request, since the agent would lack tools without a word.
func (k knownAgents) Prepare(ctx context.Context, agent string, own session.Stored, params json.RawMessage) (prepared json.RawMessage, err error) {
	err = k.user.Do(func() (err error) {
		prepared, err = k.prepare(ctx, agent, own, params)
		return err
	})
	return prepared, err
}

func (k knownAgents) prepare(ctx context.Context, agent string, own session.Stored, params json.RawMessage) (json.RawMessage, error) {
	var opened struct {
		CWD string `json:"cwd"`
	}
	if json.Unmarshal(params, &opened) != nil || opened.CWD == "" {
		return params, nil // the agent is the one to say what is wrong with it
	}
	servers, err := decodeStored(k.settings.MCP, own.MCP)
	if err != nil {
		return nil, err
	}
	if len(servers) > 0 {
		if params, err = k.settings.AddMCP(params, opened.CWD, servers); err != nil {
			return nil, err
		}
	}
	if a, err := k.Agent(agent); err == nil && len(a.SkillDirs) > 0 {
		if err := k.installSkills(ctx, opened.CWD, own.Skills, a.SkillDirs); err != nil {
			k.log.Warn("install skills", "agent", agent, "directory", opened.CWD, "error", err)
		}
	}
	return k.settings.MergeMCP(params, opened.CWD)
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

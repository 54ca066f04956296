package sandboxagent

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sandboxagent/sandboxagent/api"
)

// The settings of a directory are what agents that start there are given. An
// empty directory means the server's own.

func configQuery(directory, key, name string) url.Values {
	q := url.Values{}
	if directory != "" {
		q.Set("directory", directory)
	}
	if key != "" {
		q.Set(key, name)
	}
	return q
}

const (
	mcpPath    = "/v1/config/mcp"
	mcpName    = "mcpName"
	skillsPath = "/v1/config/skills"
	skillName  = "skillName"
)

// MCPServers returns the MCP servers configured for a directory, by name.
func (c *Client) MCPServers(ctx context.Context, directory string) (map[string]api.MCPServer, error) {
	set, err := get[api.MCPServers](ctx, c, mcpPath, configQuery(directory, "", ""))
	if err != nil {
		return nil, fmt.Errorf("get MCP servers: %w", err)
	}
	return set.Servers, nil
}

// MCPServer returns one of them. One that is not there matches
// [api.CodeConfigNotFound].
func (c *Client) MCPServer(ctx context.Context, directory, name string) (*api.MCPServer, error) {
	server, err := get[api.MCPServer](ctx, c, mcpPath, configQuery(directory, mcpName, name))
	if err != nil {
		return nil, fmt.Errorf("get MCP server: %w", err)
	}
	return server, nil
}

// SetMCPServer stores one.
func (c *Client) SetMCPServer(ctx context.Context, directory, name string, server api.MCPServer) error {
	return doing("set MCP server", c.do(ctx, http.MethodPut, mcpPath, configQuery(directory, mcpName, name), server))
}

// SetMCPServers replaces all of a directory.
func (c *Client) SetMCPServers(ctx context.Context, directory string, servers map[string]api.MCPServer) error {
	if servers == nil {
		servers = map[string]api.MCPServer{}
	}
	return doing("set MCP servers", c.do(ctx, http.MethodPut, mcpPath, configQuery(directory, "", ""), api.MCPServers{Servers: servers}))
}

// DeleteMCPServer removes one. One that does not exist is not an error.
func (c *Client) DeleteMCPServer(ctx context.Context, directory, name string) error {
	return doing("delete MCP server", c.do(ctx, http.MethodDelete, mcpPath, configQuery(directory, mcpName, name), nil))
}

// Skills returns the skills configured for a directory, by name.
func (c *Client) Skills(ctx context.Context, directory string) (map[string]api.SkillsConfig, error) {
	set, err := get[api.SkillsSet](ctx, c, skillsPath, configQuery(directory, "", ""))
	if err != nil {
		return nil, fmt.Errorf("get skills: %w", err)
	}
	return set.Skills, nil
}

// Skill returns one of them. One that is not there matches
// [api.CodeConfigNotFound].
func (c *Client) Skill(ctx context.Context, directory, name string) (*api.SkillsConfig, error) {
	skill, err := get[api.SkillsConfig](ctx, c, skillsPath, configQuery(directory, skillName, name))
	if err != nil {
		return nil, fmt.Errorf("get skill: %w", err)
	}
	return skill, nil
}

// SetSkill stores one.
func (c *Client) SetSkill(ctx context.Context, directory, name string, skill api.SkillsConfig) error {
	return doing("set skill", c.do(ctx, http.MethodPut, skillsPath, configQuery(directory, skillName, name), skill))
}

// SetSkills replaces all of a directory.
func (c *Client) SetSkills(ctx context.Context, directory string, skills map[string]api.SkillsConfig) error {
	if skills == nil {
		skills = map[string]api.SkillsConfig{}
	}
	return doing("set skills", c.do(ctx, http.MethodPut, skillsPath, configQuery(directory, "", ""), api.SkillsSet{Skills: skills}))
}

// DeleteSkill removes one. One that does not exist is not an error.
func (c *Client) DeleteSkill(ctx context.Context, directory, name string) error {
	return doing("delete skill", c.do(ctx, http.MethodDelete, skillsPath, configQuery(directory, skillName, name), nil))
}

// ProcessConfig returns the limits of processes.
func (c *Client) ProcessConfig(ctx context.Context) (*api.ProcessConfig, error) {
	config, err := get[api.ProcessConfig](ctx, c, "/v1/processes/config", nil)
	if err != nil {
		return nil, fmt.Errorf("get process config: %w", err)
	}
	return config, nil
}

// SetProcessConfig changes the limits of processes that patch has, and returns
// all of them.
func (c *Client) SetProcessConfig(ctx context.Context, patch api.ProcessConfigPatch) (*api.ProcessConfig, error) {
	config, err := call[api.ProcessConfig](ctx, c, http.MethodPost, "/v1/processes/config", nil, patch)
	if err != nil {
		return nil, fmt.Errorf("set process config: %w", err)
	}
	return config, nil
}

// Package settings keeps the MCP servers and skills that are configured for a
// directory, in two files under its .sandbox-agent directory, and makes them work:
// it gives the servers to sessions that start there and puts the skills where
// the agent looks for them. It knows nothing of HTTP and starts no MCP server;
// that is the agent's part.
package settings

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
)

// Options says where things are and what is too much. Directory, Data and Log
// are required; the zero value of every other field is a usable default.
type Options struct {
	Directory string   // absolute; stands for no directory, and relative ones are under it
	Data      string   // directory of the server's own data; skills are fetched below it
	Env       []string // where variables named by MCP entries are looked up, and git's environment
	Log       *slog.Logger

	User *user.User // who runs git; nil means the user of this program

	Git          string        // path of git; looked up in PATH of Env when empty
	GitHub       string        // address before owner/repo; https://github.com when empty
	FetchTimeout time.Duration // for one source; 2 minutes when 0
	FetchBytes   int64         // of one source on disk; 256 MiB when 0
	SkillFiles   int           // of one skill; 5,000 when 0
	Refresh      time.Duration // age at which a fetched source is fetched again; 10 minutes when 0
}

// Settings is safe for use by many goroutines, and by many processes on the
// same directories.
type Settings struct {
	MCP    *Set[api.MCPServer]
	Skills *Set[api.SkillsConfig]

	opts Options
}

// New returns the settings below a data directory. It touches no file.
func New(opts Options) *Settings {
	if opts.GitHub == "" {
		opts.GitHub = "https://github.com"
	}
	if opts.FetchTimeout == 0 {
		opts.FetchTimeout = 2 * time.Minute
	}
	if opts.FetchBytes == 0 {
		opts.FetchBytes = 256 << 20
	}
	if opts.SkillFiles == 0 {
		opts.SkillFiles = 5000
	}
	if opts.Refresh == 0 {
		opts.Refresh = 10 * time.Minute
	}
	s := &Settings{opts: opts}
	s.MCP = &Set[api.MCPServer]{s: s, noun: "mcp", decode: decodeMCP, decodeSet: decodeMCPSet}
	s.Skills = &Set[api.SkillsConfig]{s: s, noun: "skills", decode: decodeSkills, decodeSet: decodeSkillsSet}
	return s
}

// directory makes dir absolute.
func (s *Settings) directory(dir string) string {
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(s.opts.Directory, dir)
}

// Package settings keeps the MCP servers and skills that are configured for a
// directory, in two files under its .sandbox-agent folder, and makes them work:
// it gives the servers to sessions that start there and puts the skills where
// the agent looks for them. It knows nothing of HTTP and starts no MCP server;
// that is the agent's part.
package settings

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// Options says where things are and what is too much. Directory, Data and Log
// are required; the zero value of every other field is a usable default.
type Options struct {
	Directory string   // absolute; stands for no directory, and relative ones are under it
	Roots     []string // directories outside of them are refused; none means everywhere
	Data      string   // folder of the server's own data; skills are fetched below it
	Env       []string // where variables named by MCP entries are looked up, and git's environment
	Log       *slog.Logger

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

// New returns the settings below a data folder. It touches no file.
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

// directory makes dir absolute and checks that it may be configured.
func (s *Settings) directory(dir string) (string, error) {
	if dir == "" {
		dir = s.opts.Directory
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(s.opts.Directory, dir)
	}
	dir = filepath.Clean(dir)
	if len(s.opts.Roots) == 0 {
		return dir, nil
	}
	real := resolve(filepath.Join(dir, folder))
	for _, root := range s.opts.Roots {
		if within(resolve(root), real) {
			return dir, nil
		}
	}
	return "", api.NewError(api.KindPermissionDenied, "", "%s is outside of the folders that may be configured", dir)
}

// resolve follows the symbolic links of the part of path that exists.
func resolve(path string) string {
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// within reports whether path is root or below it; both are clean.
func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

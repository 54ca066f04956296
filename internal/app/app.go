// Package app puts the server of a sandbox together: the nouns that do the work, each
// after what it needs, and the HTTP server in front of them. The command line and
// programs that embed a server use it. It reads neither flags nor the environment.
package app

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
	"github.com/sandboxagent/sandboxagent/internal/compat"
	"github.com/sandboxagent/sandboxagent/internal/files"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/process"
	"github.com/sandboxagent/sandboxagent/internal/secrets"
	"github.com/sandboxagent/sandboxagent/internal/server"
	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// Config says how to run a server. DataDir and Home are required; the zero
// value of everything else is usable.
type Config struct {
	Version string // of the program; empty means "devel"
	Commit  string

	DataDir   string   // where journal, agents and logs are kept
	AgentsDir string   // where agents are installed, and found; empty means DataDir
	Journal   string   // file of the journal, or [MemoryJournal]; empty means journal.db in DataDir
	Home      string   // what relative paths of files start from, and where credentials are looked for
	WorkDir   string   // where sessions work that name no directory; empty means Home
	Env       []string // environment of agents and processes, as KEY=value

	// User is who agents and processes run as, with its home in Home, and with whose
	// rights clients reach files. What agents need is kept in the home. Nil means the
	// user of this program.
	User *user.User

	// Store keeps the events in place of the file of the journal; the server closes
	// it. Nil means the file.
	Store journal.Store

	// SelfExe is the program that runs the mock agent as "SelfExe mock".
	SelfExe string

	// AgentCommands replaces how an agent is started, or adds an agent, by id.
	AgentCommands map[string][]string

	// RegistryURL is the ACP registry that agents are looked up in; empty means
	// the pinned packages only.
	RegistryURL string

	// AgentStore is a directory with agents that were installed on the host of a
	// sandbox; with one, none is installed on its first use. Empty means none.
	AgentStore string

	// RequirePreinstall refuses to install an agent on its first use.
	RequirePreinstall bool

	Token        string   // empty means that every request is allowed
	AllowedHosts []string // Host names served without a token in addition to loopback; * means any
	CORS         httpkit.CORS

	// Ballast is how many bytes to allocate and never touch, so that they take
	// no memory. They count as heap: without them the garbage of a few hundred
	// requests doubles the small heap of a server, and a sixth of its time goes
	// to collecting. It is for programs that do nothing but serve.
	Ballast int

	Limits api.Limits   // zeros mean the defaults
	Logger *slog.Logger // nil means none

	// Stop is called when a client asks the server to shut down.
	Stop context.CancelFunc
}

// Open makes a server on the data in cfg.DataDir, which it holds until its Close.
func Open(cfg Config) (*server.Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Version = cmp.Or(cfg.Version, "devel")
	cfg.Env = cfg.User.Environ(withoutToken(cfg.Env))
	if cfg.Journal == MemoryJournal {
		cfg.Limits.MaxJournalTotalBytes = cmp.Or(cfg.Limits.MaxJournalTotalBytes, memoryJournalBytes)
	}
	cfg.Limits = limitsWithDefaults(cfg.Limits, cfg.DataDir)
	nouns, err := open(cfg)
	if err != nil {
		return nil, err
	}
	config := server.Config{
		Version:      cfg.Version,
		Commit:       cfg.Commit,
		DataDir:      cfg.DataDir,
		Token:        cfg.Token,
		AllowedHosts: cfg.AllowedHosts,
		CORS:         cfg.CORS,
		Ballast:      cfg.Ballast,
		Limits:       cfg.Limits,
		Logger:       cfg.Logger,
		Stop:         cfg.Stop,
	}
	if cfg.User != nil {
		config.AgentUser, config.AsUser = cfg.User.Name, cfg.User.Do
	}
	return server.New(config, nouns), nil
}

// withoutToken returns an environment for children: what has the token of a server is
// no business of theirs.
func withoutToken(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, "SANDBOX_AGENT_TOKEN") })
}

// open makes the nouns.
func open(cfg Config) (n server.Nouns, err error) {
	if n.Journal, err = openJournal(cfg); err != nil {
		return n, err
	}
	n.Children = new(bridge.Roster)
	data, processDir := cfg.DataDir, ""
	if cfg.User != nil {
		// The data directory is closed to the user.
		data, processDir = filepath.Join(cfg.Home, ".local", "share", "sandbox-agent"), cfg.Home
		cfg.AgentsDir = data
	}
	n.Agents = agents.New(agents.Config{
		DataDir:           cmp.Or(cfg.AgentsDir, cfg.DataDir),
		User:              cfg.User,
		Home:              cfg.Home,
		Env:               cfg.Env,
		SelfExe:           cfg.SelfExe,
		AgentCommands:     cfg.AgentCommands,
		Registry:          cfg.RegistryURL,
		RequirePreinstall: cfg.RequirePreinstall,
		Store:             cfg.AgentStore,
		Logger:            cfg.Logger,
	})
	n.Settings = settings.New(settings.Options{Directory: cfg.Home, Data: data, Env: cfg.Env, User: cfg.User, Log: cfg.Logger})
	n.Files = files.New(filesConfig(cfg, data))
	if err := cfg.User.Do(n.Files.Recover); err != nil {
		cfg.Logger.Warn("recover files that a killed server was changing", "error", err)
	}
	hubs := compat.NewHubs(n.Journal, cfg.Logger)
	n.Sessions, err = session.New(session.Config{
		Journal:  n.Journal,
		Mirror:   hubs,
		Volatile: cfg.Journal == MemoryJournal,
		Secrets:  secrets.NewStore(secretsDir(cfg)),
		Agents:   knownAgents{n.Agents, n.Settings, cfg.Home, cfg.User, cfg.Logger},
		Bridge:   bridgeLimits(cfg.Limits),
		Roster:   n.Children,
		CWD:      cmp.Or(cfg.WorkDir, cfg.Home),
		Version:  cfg.Version,
		Limits:   sessionLimits(cfg.Limits),
		Logger:   cfg.Logger,
	})
	if err != nil {
		return n, errors.Join(err, n.Journal.Close())
	}
	n.Clients = compat.New(n.Sessions, hubs, cfg.Version)
	n.Processes = process.NewSupervisor(process.Config{Limits: processLimits(cfg.Limits), DefaultDir: processDir, Env: cfg.Env, User: cfg.User, Logger: cfg.Logger, Roster: n.Children})
	return n, nil
}

// secretsDir is where the secrets of sessions are kept: beside the journal that has the
// sessions, and in memory with that.
func secretsDir(cfg Config) string {
	switch {
	case cfg.Journal == MemoryJournal:
		return ""
	case cfg.Store != nil:
		return filepath.Join(cfg.DataDir, "secrets")
	}
	return cmp.Or(cfg.Journal, filepath.Join(cfg.DataDir, "journal.db")) + secrets.DirSuffix
}

// MemoryJournal is the [Config.Journal] that keeps events in memory alone.
const MemoryJournal = "memory"

// memoryJournalBytes is how much a journal in memory keeps unless told otherwise.
const memoryJournalBytes = 256 << 20

func openJournal(cfg Config) (*journal.Journal, error) {
	store := cfg.Store
	switch {
	case store != nil:
	case cfg.Journal == MemoryJournal:
		store = journal.Memory()
	default:
		var err error
		if store, err = sqlite.Open(cmp.Or(cfg.Journal, filepath.Join(cfg.DataDir, "journal.db"))); err != nil {
			return nil, err
		}
	}
	j, err := journal.Open(store, journal.Options{
		WindowBytes:  cfg.Limits.JournalWindowBytes,
		BacklogBytes: cfg.Limits.JournalBacklogBytes,
		// Over the limit of lines by what a reader of lines may overshoot.
		MaxFrameBytes: max(cfg.Limits.MaxFrameBytes, cfg.Limits.MaxBodyBytes, cfg.Limits.MaxContentBytes) + 1<<20,
		Retention:     retention(cfg.Limits),
		Logger:        cfg.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return j, nil
}

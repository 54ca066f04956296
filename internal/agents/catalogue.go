package agents

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/child/user"
	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
)

// All returns the known agents. The first seven are those of the earlier server
// and stand in its order, which clients rely on.
func All() []Agent {
	return []Agent{
		claude, codex, opencode, amp, pi, cursor, mock,
		gemini, qwen, copilot, kilo, droid,
	}
}

// Config says where a [Catalogue] looks. DataDir is required; without Env no
// program is found on PATH and no credential in the environment.
type Config struct {
	DataDir string   // where agents are installed, and found
	Home    string   // whose logins are looked for; empty means none
	Env     []string // environment of agents, npm and credentials, as "K=V"
	SelfExe string   // this program, which is the mock agent
	Logger  *slog.Logger

	// Registry is a document in the format of the ACP registry, a URL or a file
	// name, that is asked for the package of an agent first. Empty means that
	// the pinned packages are used.
	Registry string

	// Store is a directory with agents that were installed on the host, which this
	// catalogue does not change. With one, Launch does not install. Empty means none.
	Store string

	// User is who runs npm and agents, and who owns what is installed; nil means the
	// user of this program.
	User *user.User

	NPM string // the npm program; empty means that on PATH

	// RequirePreinstall makes Launch refuse an agent that is not installed
	// instead of installing it.
	RequirePreinstall bool

	// AgentCommands are commands, program first, by the id of the agent they
	// start. An id that is not known becomes an agent of its own.
	AgentCommands map[string][]string
}

// Catalogue knows the agents of one machine. Its methods may be called from
// several goroutines, and several programs may share a data directory.
type Catalogue struct {
	cfg    Config
	log    *slog.Logger
	agents []Agent
	env    map[string]string

	installs sync.RWMutex // read-locked by every install and uninstall

	mu     sync.Mutex
	probes map[string]probe // versions by agent
}

// New returns a catalogue. It touches nothing.
func New(cfg Config) *Catalogue {
	cfg.Env = child.WithPath(cfg.Env)
	c := &Catalogue{
		cfg:    cfg,
		log:    cfg.Logger,
		agents: All(),
		env:    make(map[string]string, len(cfg.Env)),
		probes: make(map[string]probe),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, kv := range cfg.Env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			c.env[key] = value
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.AgentCommands)) {
		if !validID().MatchString(id) {
			c.log.Warn("agent command ignored: its id has characters that an id cannot have", "agent", id)
			continue
		}
		if !slices.ContainsFunc(c.agents, func(a Agent) bool { return a.ID == id }) {
			c.agents = append(c.agents, custom(id))
		}
	}
	return c
}

// validID holds for names that are safe as file names and in URLs.
var validID = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// custom returns the agent of a configured command. It can be anything, so it
// claims what every ACP agent does.
func custom(id string) Agent {
	return Agent{
		ID:           id,
		Name:         id,
		Note:         "A configured command.",
		Capabilities: api.AgentCapabilities{ToolCalls: true, ToolResults: true, TextMessages: true, Permissions: true, StreamingDeltas: true},
	}
}

// Agents returns the agents of this catalogue: [All], then the configured ones.
func (c *Catalogue) Agents() []Agent { return slices.Clone(c.agents) }

// Agent returns the agent with an id, or an unsupported_agent problem.
func (c *Catalogue) Agent(id string) (Agent, error) {
	for _, a := range c.agents {
		if a.ID == id {
			return a, nil
		}
	}
	return Agent{}, api.UnsupportedAgent(id)
}

// Wait returns when the installs are over that were begun before. It does not
// end them; their contexts do.
func (c *Catalogue) Wait() {
	c.installs.Lock()
	defer c.installs.Unlock()
}

// FirstReady returns the id of the first agent that is installed and has
// credentials of its own, else that of the agent that needs neither.
func (c *Catalogue) FirstReady() string {
	creds := c.Credentials(false)
	fallback := ""
	for _, a := range c.agents {
		if a.Builtin != nil {
			fallback = a.ID
			continue
		}
		if _, ok := c.find(a); ok && !a.Credentials.none() && c.provided(a, creds) {
			return a.ID
		}
	}
	return fallback
}

// binDir has the vendors' programs, and processDir the launchers. The names are those
// of the earlier server.
func (c *Catalogue) binDir() string     { return filepath.Join(c.cfg.DataDir, "bin") }
func (c *Catalogue) processDir() string { return filepath.Join(c.binDir(), "agent_processes") }
func (c *Catalogue) launcher(a Agent) string {
	return filepath.Join(c.processDir(), a.ID+"-acp")
}

// StoreDir returns the directory, of a data directory, with what npm installs. It
// holds nothing of a user, and sandboxes see it.
func StoreDir(dataDir string) string { return filepath.Join(dataDir, "store") }

func (c *Catalogue) storeDir() string { return StoreDir(c.cfg.DataDir) }

// lookPath finds a program on the PATH of the environment, in absolute directories
// only.
func (c *Catalogue) lookPath(name string) (string, bool) {
	if name == "" {
		return "", false
	}
	if strings.ContainsRune(name, filepath.Separator) {
		path, err := filepath.Abs(name) // an agent starts in the directory of its session
		return path, err == nil && executable(path)
	}
	for _, dir := range filepath.SplitList(c.env["PATH"]) {
		if path := filepath.Join(dir, name); filepath.IsAbs(dir) && executable(path) {
			return path, true
		}
	}
	return "", false
}

// HasProgram reports whether a program is there for what works in dir: by its path,
// or by its name on PATH.
func (c *Catalogue) HasProgram(name, dir string) bool {
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	_, ok := c.lookPath(name)
	return ok
}

// executable reports whether path is a file with something in it that may be
// run; a file that a crash left empty is none.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && info.Size() > 0
}

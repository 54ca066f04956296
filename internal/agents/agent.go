package agents

import (
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Agent is everything there is to know about one coding agent. Only ID and Name
// are required; an agent with nothing else can be started by a launcher file or
// a configured command.
type Agent struct {
	ID   string
	Name string // for people
	Note string // what people should know, such as how far it goes

	Capabilities api.AgentCapabilities
	Options      []api.AgentConfigOption

	// Command is the name of the program that speaks ACP: it is looked for on
	// PATH, and in what Packages install. Args go with it.
	Command string
	Args    []string

	// Native is the name of the vendor's own program, where people know the
	// agent by it. NativeNeeded says that Command does not work without it.
	Native       string
	NativeNeeded bool

	// Packages are installed from npm, in the versions that were seen to run.
	// The first has Command. Lock holds them and all they need with their
	// checksums, in a directory below locks.
	Packages []Package
	Lock     lockScope

	// Programs are packages, for one kind of machine each, whose program called
	// Command is taken in place of one that a script of the first package would
	// link: the first that starts.
	Programs []string

	// NativePackage can be installed alongside the others when a caller asks for a
	// version of the vendor's program; NativeEnv then names it to Command.
	NativePackage string
	NativeEnv     string

	// RegistryID is the agent's id in the ACP registry.
	RegistryID string

	// MinNode is the oldest Node.js that runs it, as "22.19"; empty means that
	// any will do.
	MinNode string

	// Env is added to the environment of the agent where it says nothing else.
	Env map[string]string

	Credentials CredentialNeeds

	// SignIn are the methods by which the agent can sign in without a person, with
	// a key in its environment; the first that it offers is taken.
	SignIn []string

	// NoMCP says why the agent takes no MCP servers of a transport: [MCPProgram],
	// "http", or "sse". Not every agent says it by its capabilities.
	NoMCP map[string]string

	// Hints say what to do about errors of the agent that do not say it
	// themselves, by a part of their details.
	Hints map[string]string

	// SkillDirs are the directories, below that of a session, in which the agent
	// looks for skills.
	SkillDirs []string

	// Asking says how the agent comes to ask before it acts. An empty How means
	// that it is not known.
	Asking api.AgentAsking

	// AskEnv returns the variables that make the agent ask, those of
	// Asking.Variables, given those that it would have otherwise. Nil means none.
	AskEnv func(env map[string]string) map[string]string

	// AskFiles are the files by which the agent asks even about what its own settings
	// allow; their variables are among Asking.Variables too.
	AskFiles []askFile

	// AskPolicy is the text of a file that does the same, and AskFlag the argument
	// that names the file to the agent. Empty means none.
	AskFlag, AskPolicy string

	// Unasked says which settings in a home and in a working directory make the agent
	// act unasked whatever else it is given; empty when there are none. Nil means
	// that there are no such settings.
	Unasked func(home, cwd string) string

	// AskParams adds to the parameters that open a session what makes the agent
	// ask even about what its own settings allow. Nil adds nothing.
	AskParams func(params map[string]json.RawMessage) error

	// Normalize brings a tool call of the agent, in a session that works in cwd,
	// into the shape that policies judge: the command line is the command of
	// rawInput, and the files are in locations. It never hides what the call
	// touches. Nil leaves calls as they are.
	Normalize func(cwd string, call acp.ToolCall) acp.ToolCall

	// ReplaysLate says that it tells the history of a session after it has answered
	// session/load, and then its commands.
	ReplaysLate bool

	// SumsUsage says that the usage in its answers is that of the whole session
	// since its process has it open, not that of the turn.
	SumsUsage bool

	// Builtin gives the arguments with which this program itself is the agent.
	Builtin []string

	// Records lists the files in which the agent keeps a session, given the home
	// directory of the user and the environment. They go when the session is purged.
	// Nil for agents whose records are their user's.
	Records func(home string, env map[string]string, session string) []string

	// Forwarded returns the variables that make the agent use the forwarder to models
	// at a URL, see [api.EnvModels], given those that it would have otherwise. Nil
	// means that those of the vendors do.
	Forwarded func(url string, env map[string]string) map[string]string

	// ForwardedArgs are arguments for the same purpose, of an agent that is not started
	// by a command of the user's own; nil means none.
	ForwardedArgs func(url string) []string

	// Environ changes the environment in which the agent starts; nil changes
	// nothing.
	Environ func(env []string) []string
}

// MCPProgram is the transport of an MCP server that is started as a program.
const MCPProgram = "stdio"

// Package is an npm package in one version. Native marks the one with the
// vendor's own program, when the adapter is another. Scripts marks one that does
// not work unless npm runs its scripts, which it does for no other.
type Package struct {
	Name, Version string
	Native        bool
	Scripts       bool
}

// lockScope says on which machines the lock of an agent is complete.
type lockScope string

const (
	lockNone       lockScope = ""            // there is no lock, only exact versions
	lockEverywhere lockScope = "any"         // it names the programs of all platforms
	lockLinuxX64   lockScope = "linux/amd64" // it names only the programs of this one
)

// CredentialNeeds says which credentials an agent can use; any one of them is
// enough. The zero value needs none.
type CredentialNeeds struct {
	Providers []string // providers as [credentials.Discover] names them
	Env       []string // variables that the agent reads
	Files     []string // files in the home directory that hold its login

	// Assumed reports a credential as available to clients although none was
	// found, because the agent has ways to log in that cannot be seen from here.
	Assumed bool

	// Hint says how to get one.
	Hint string
}

func (n CredentialNeeds) none() bool {
	return len(n.Providers) == 0 && len(n.Env) == 0 && len(n.Files) == 0
}

// choice returns a choice with the given current value. Values are given as
// "value" or "value=Name".
func choice(category, name, current string, values ...string) api.AgentConfigOption {
	o := api.AgentConfigOption{Category: category, CurrentValue: current, ID: category, Name: name, Type: "select"}
	for _, v := range values {
		value, label := v, v
		for i := range v {
			if v[i] == '=' {
				value, label = v[:i], v[i+1:]
				break
			}
		}
		o.Options = append(o.Options, api.AgentConfigValue{Name: label, Value: value})
	}
	return o
}

func models(current string, values ...string) api.AgentConfigOption {
	return choice("model", "Model", current, values...)
}

func modes(current string, values ...string) api.AgentConfigOption {
	return choice("mode", "Mode", current, values...)
}

func thoughtLevels(current string, values ...string) api.AgentConfigOption {
	return choice("thought_level", "Thought Level", current, values...)
}

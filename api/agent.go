package api

// Codes of agents. A problem of an agent also carries its id in agent.
const (
	CodeUnsupportedAgent  Code = "unsupported_agent"
	CodeAgentNotInstalled Code = "agent_not_installed"
	CodeInstallFailed     Code = "install_failed"
	CodeInvalidVersion    Code = "invalid_version"
	CodeNotInstalledHere  Code = "not_installed_here" // the data directory has nothing of it
	CodeAgentCannotAsk    Code = "agent_cannot_ask"   // it acts unasked, and the policy has to ask or reject
)

// AgentList is the answer of GET /v1/agents.
type AgentList struct {
	Agents []AgentInfo `json:"agents"`
}

// AgentInfo describes an agent and whether it could be started.
type AgentInfo struct {
	ID                   string              `json:"id" example:"claude"`
	Installed            bool                `json:"installed" doc:"Whether there is a program to start"`
	CredentialsAvailable bool                `json:"credentialsAvailable" doc:"Whether a credential it can use was found, or none is needed"`
	Version              string              `json:"version,omitempty" doc:"Only with config=true"`
	Path                 string              `json:"path,omitempty" doc:"Program of the agent; only with config=true"`
	Capabilities         AgentCapabilities   `json:"capabilities"`
	ServerStatus         *AgentServerStatus  `json:"serverStatus,omitempty" doc:"Present while the agent has a connection"`
	ConfigOptions        []AgentConfigOption `json:"configOptions,omitempty" doc:"Choices known before a session; only with config=true"`
	ConfigError          string              `json:"configError,omitempty" doc:"Why the version or the choices could not be found"`
	Name                 string              `json:"name" doc:"Name for people" example:"Claude Code"`
	Source               AgentSource         `json:"source,omitempty" doc:"How the agent would be started: launcher, command, path or builtin"`
	Note                 string              `json:"note,omitempty" doc:"What people should know about this agent"`
	Asking               AgentAsking         `json:"asking" doc:"How it comes to ask before it acts"`
}

// AgentAsking says how an agent comes to ask before it changes files or runs
// commands. The policy of a session judges only what the agent asks about.
type AgentAsking struct {
	How       AgentAsks `json:"how" enum:"mode,environment,default,never,unknown" doc:"mode: sessions are put into the mode below; environment: it is started with the variables below; default: it starts in the mode below by itself, and is put back into it where its own settings say otherwise; never: it cannot ask; unknown: not measured"`
	Mode      string    `json:"mode,omitempty" doc:"Mode in which it asks; sessions start in it unless their client names another one"`
	Variables []string  `json:"variables,omitempty" doc:"Names of the variables that make it ask, unless a client gives its session the first of them"`
	Note      string    `json:"note,omitempty" doc:"What it does without asking even so"`
}

// AgentAsks is the way in which an agent comes to ask.
type AgentAsks string

// The ways in which agents come to ask.
const (
	AsksByMode        AgentAsks = "mode"
	AsksByEnvironment AgentAsks = "environment"
	AsksByDefault     AgentAsks = "default"
	AsksNever         AgentAsks = "never"
	AsksUnknown       AgentAsks = "unknown"
)

// AgentCapabilities says what an agent can do, as far as it is known without
// starting it. What a live session offers is in its ACP capabilities.
type AgentCapabilities struct {
	PlanMode         bool `json:"planMode"`
	Permissions      bool `json:"permissions"`
	Questions        bool `json:"questions"`
	ToolCalls        bool `json:"toolCalls"`
	ToolResults      bool `json:"toolResults"`
	TextMessages     bool `json:"textMessages"`
	Images           bool `json:"images"`
	FileAttachments  bool `json:"fileAttachments"`
	SessionLifecycle bool `json:"sessionLifecycle"`
	ErrorEvents      bool `json:"errorEvents"`
	Reasoning        bool `json:"reasoning"`
	Status           bool `json:"status"`
	CommandExecution bool `json:"commandExecution"`
	FileChanges      bool `json:"fileChanges"`
	MCPTools         bool `json:"mcpTools"`
	StreamingDeltas  bool `json:"streamingDeltas"`
	ItemStarted      bool `json:"itemStarted"`
	SharedProcess    bool `json:"sharedProcess"`
}

// AgentServerStatus says that an agent has a live connection.
type AgentServerStatus struct {
	Status   string `json:"status" enum:"running,stopped"`
	UptimeMs *int64 `json:"uptimeMs,omitempty" doc:"Age of the oldest connection, milliseconds"`
}

// AgentConfigOption is a choice that an agent offers.
type AgentConfigOption struct {
	Category     string             `json:"category" doc:"model, mode or thought_level"`
	CurrentValue string             `json:"currentValue"`
	ID           string             `json:"id"`
	Name         string             `json:"name"`
	Options      []AgentConfigValue `json:"options"`
	Type         string             `json:"type" example:"select"`
}

// AgentConfigValue is one value of a choice.
type AgentConfigValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// AgentSource says how an agent is started.
type AgentSource string

// The ways to start an agent, in the order in which they are tried, builtin
// last.
const (
	AgentFromLauncher AgentSource = "launcher" // a launcher file in the data directory, ours or foreign
	AgentFromCommand  AgentSource = "command"  // configured
	AgentFromPath     AgentSource = "path"     // found on PATH
	AgentBuiltin      AgentSource = "builtin"
)

// AgentInstallRequest is the body of POST /v1/agents/{agent}/install. Its zero
// value installs what is missing, in the versions known to run.
type AgentInstallRequest struct {
	Reinstall           bool   `json:"reinstall,omitempty" doc:"Install again what is already installed"`
	AgentVersion        string `json:"agentVersion,omitempty" doc:"Version of the vendor's own program"`
	AgentProcessVersion string `json:"agentProcessVersion,omitempty" doc:"Version of the program that speaks ACP"`
}

// AgentInstallResult is the answer to an install.
type AgentInstallResult struct {
	AlreadyInstalled bool            `json:"already_installed"`
	Artifacts        []AgentArtifact `json:"artifacts"`
}

// AgentArtifact is something that an install put in place.
type AgentArtifact struct {
	Kind    string  `json:"kind" enum:"native_agent,agent_process"`
	Path    string  `json:"path"`
	Source  string  `json:"source" enum:"registry,fallback,local_path,builtin" doc:"fallback is the package pinned in this program"`
	Version *string `json:"version"`
}

// The kinds and sources of an [AgentArtifact].
const (
	ArtifactNativeAgent  = "native_agent"
	ArtifactAgentProcess = "agent_process"

	ArtifactFromRegistry  = "registry"
	ArtifactFromFallback  = "fallback"
	ArtifactFromLocalPath = "local_path"
	ArtifactFromBuiltin   = "builtin"
)

// AgentInstallEvent is one step of an install under way. The events of an
// install stream are named progress; after them comes one named result, an
// [AgentInstallResult], or one named error, an [Error].
type AgentInstallEvent struct {
	Agent   string `json:"agent"`
	Phase   string `json:"phase" enum:"wait,resolve,node,download,verify,activate" doc:"What is being done"`
	Message string `json:"message" doc:"For people"`
}

// AgentCheck says in words whether an agent would work, and why not.
type AgentCheck struct {
	Agent  string `json:"agent"`
	Name   string `json:"name"`
	Status string `json:"status" enum:"ready,not_installed,no_credentials,broken"`
	Detail string `json:"detail" doc:"What was found"`
	Hint   string `json:"hint,omitempty" doc:"What to do"`
	Stderr string `json:"stderr,omitempty" doc:"The last lines of the agent's own words"`
	Asking string `json:"asking,omitempty" doc:"How it comes to ask before it acts, in words"`
}

// The statuses of an [AgentCheck].
const (
	CheckReady         = "ready"
	CheckNotInstalled  = "not_installed"
	CheckNoCredentials = "no_credentials"
	CheckBroken        = "broken"
)

// EnvAgentStore is the variable that names, in a sandbox, the directory with the
// agents that were installed on its host.
const EnvAgentStore = "SANDBOX_AGENT_STORE"

// EnvModels is the variable that names, in a sandbox, the URL of the forwarder to model
// providers. The variables of the vendors, such as ANTHROPIC_BASE_URL, lead there as
// well.
const EnvModels = "SANDBOX_AGENT_MODELS"

// UnsupportedAgent returns a 400 problem for an id that nobody knows.
func UnsupportedAgent(id string) *Error {
	e := NewError(KindUnsupportedAgent, CodeUnsupportedAgent, "%s", id)
	e.Agent = id
	return e
}

// AgentNotInstalled returns a 404 problem; hint says what to do about it.
func AgentNotInstalled(id, hint string) *Error {
	e := NewError(KindAgentNotInstalled, CodeAgentNotInstalled, "%s", id)
	e.Agent = id
	if hint != "" {
		e.Detail += ": " + hint
	}
	return e
}

// AgentCannotAsk returns a 400 problem for an agent that acts without asking
// where the policy of a session has something to ask about or to reject.
func AgentCannotAsk(id, why string) *Error {
	e := InvalidRequest(CodeAgentCannotAsk, `%s, so permissions that ask or reject cannot hold; to let it act unasked, set the permissions of the session to {"default":"allow"} without rules that ask or reject (sessions new --permissions allow, run --yes)`, why)
	e.Agent = id
	return e
}

// InstallFailed returns a 500 problem. The reason is for people, says which
// source failed and what to do, and stands also in details.stderr.
func InstallFailed(id, reason string) *Error {
	e := NewError(KindInstallFailed, CodeInstallFailed, "%s: %s", id, reason)
	e.Agent = id
	return e.With("stderr", reason)
}

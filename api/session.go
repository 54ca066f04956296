package api

import (
	"encoding/json"
	"strconv"

	"github.com/sandboxagent/sandboxagent/acp"
)

// The states of a session.
const (
	SessionStarting  = "starting"  // its agent is being started or restored
	SessionIdle      = "idle"      // waits for a prompt
	SessionRunning   = "running"   // works on a prompt
	SessionWaiting   = "waiting"   // works on a prompt, and waits for a permission
	SessionStopped   = "stopped"   // has no agent at the moment; the next prompt restores it
	SessionFailed    = "failed"    // could not be started or restored; the next prompt tries again
	SessionDestroyed = "destroyed" // ended for good; its history is kept
)

// Session is one conversation with an agent, whichever client opened it.
type Session struct {
	ID                 string             `json:"id"`
	Agent              string             `json:"agent"`
	AgentSessionID     string             `json:"agentSessionId" doc:"Id by which the agent knows the session; changes when it is restored by priming. Accepted wherever id is."`
	LastConnectionID   string             `json:"lastConnectionId" doc:"ACP connection the session was last open on"`
	CreatedAt          int64              `json:"createdAt" doc:"Unix milliseconds"`
	UpdatedAt          int64              `json:"updatedAt" doc:"Time of the newest event, Unix milliseconds"`
	DestroyedAt        *int64             `json:"destroyedAt,omitempty" doc:"Unix milliseconds"`
	Title              string             `json:"title"`
	CWD                string             `json:"cwd"`
	Ephemeral          bool               `json:"ephemeral,omitempty" doc:"In the memory of the server alone: nothing of it is on disk, and it ends with the server"`
	Status             string             `json:"status" enum:"starting,idle,running,waiting,stopped,failed,destroyed"`
	Reason             string             `json:"reason,omitempty" doc:"Why it has this status, or how the last turn failed"`
	Model              string             `json:"model,omitempty"`
	Mode               string             `json:"mode,omitempty"`
	ThoughtLevel       string             `json:"thoughtLevel,omitempty"`
	ConfigOptions      []acp.ConfigOption `json:"configOptions,omitempty"`
	Modes              *acp.SessionModes  `json:"modes,omitempty"`
	Usage              SessionUsage       `json:"usage"`
	PendingPermissions int                `json:"pendingPermissions" doc:"Permission requests that wait for a reply"`
	LastEvent          uint64             `json:"lastEvent" doc:"Number of the newest event"`
	Turn               string             `json:"turn,omitempty" doc:"Id of the turn under way"`
	Queued             int                `json:"queued,omitempty" doc:"Prompts that wait for the turn to end"`
	Restored           *SessionRestored   `json:"restored,omitempty" doc:"How the session last came back to an agent"`
	Clients            []SessionClient    `json:"clients,omitempty" doc:"Who follows the session's events now"`
	Permissions        *PermissionPolicy  `json:"permissions,omitempty" doc:"Absent for a session of an ACP client that decides itself"`
	ForgottenRules     []PermissionRule   `json:"forgottenRules,omitempty" doc:"In the response to a change of permissions: remembered rules that the stricter default revoked"`
	Metadata           map[string]any     `json:"metadata,omitempty"`
}

// SessionUsage counts what a session has used since it began.
type SessionUsage struct {
	InputTokens       int64     `json:"inputTokens"`
	OutputTokens      int64     `json:"outputTokens"`
	TotalTokens       int64     `json:"totalTokens"`
	ThoughtTokens     int64     `json:"thoughtTokens,omitempty"`
	CachedReadTokens  int64     `json:"cachedReadTokens,omitempty"`
	CachedWriteTokens int64     `json:"cachedWriteTokens,omitempty"`
	ContextUsed       int64     `json:"contextUsed,omitempty" doc:"Tokens in the agent's context"`
	ContextSize       int64     `json:"contextSize,omitempty" doc:"Tokens the context can hold"`
	Cost              *acp.Cost `json:"cost,omitempty"`
}

// The ways in which a session comes back.
const (
	RestoredResumed = "resumed" // the agent went on with it
	RestoredLoaded  = "loaded"  // the agent read it from its own records
	RestoredPrimed  = "primed"  // a new session of the agent is given a record of what was said
)

// SessionRestored says how a session came back to an agent.
type SessionRestored struct {
	How string `json:"how" enum:"resumed,loaded,primed"`
	At  int64  `json:"at" doc:"Unix milliseconds"`
}

// SessionClient is a client that follows the events of a session.
type SessionClient struct {
	ID     string `json:"id"`
	Client string `json:"client" doc:"The X-Client-Name header, else the address"`
	Since  int64  `json:"since" doc:"Unix milliseconds"`
}

// SessionCreateRequest says how to start a session. Only Agent is required.
type SessionCreateRequest struct {
	Agent        string             `json:"agent"`
	ID           string             `json:"id,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9._-]*$" doc:"Chosen by the server when absent"`
	CWD          string             `json:"cwd,omitempty" doc:"Directory to work in; relative ones begin in the home directory, which is also the default"`
	Model        string             `json:"model,omitempty"`
	Mode         string             `json:"mode,omitempty"`
	ThoughtLevel string             `json:"thoughtLevel,omitempty"`
	MCPServers   []SessionMCPServer `json:"mcpServers,omitempty" doc:"As in session/new, in addition to the configured ones"`
	Title        string             `json:"title,omitempty" maxLength:"1000"`
	Env          map[string]string  `json:"env,omitempty" doc:"Added to the environment of the agent; kept with the session but never shown"`
	Permissions  *PermissionPolicy  `json:"permissions,omitempty"`
	Metadata     map[string]any     `json:"metadata,omitempty"`
	Ephemeral    bool               `json:"ephemeral,omitempty" doc:"Keep the session in the memory of the server alone: nothing of it is on disk, it is in no export, and it ends with the server"`
}

// EnvEphemeral is the variable that asks the agent of an ephemeral session to keep
// nothing on disk either. The mock agent obeys; others know nothing of it.
const EnvEphemeral = "SANDBOX_AGENT_EPHEMERAL"

// SessionMCPServer is a tool server as session/new takes it. It is a type of its
// own because [MCPServer] is how servers are configured.
type SessionMCPServer acp.MCPServer

// MarshalJSON writes what the transport needs.
func (m SessionMCPServer) MarshalJSON() ([]byte, error) { return acp.MCPServer(m).MarshalJSON() }

// SessionPatch changes what it has; the rest stays.
type SessionPatch struct {
	Title       *string           `json:"title,omitempty" maxLength:"1000" doc:"Empty takes the agent's own title again"`
	Metadata    map[string]any    `json:"metadata,omitempty" doc:"Replaces all of it"`
	Permissions *PermissionPolicy `json:"permissions,omitempty" doc:"Replaces default, rules and expiry. Remembered rules stay, but for those of kinds whose default becomes stricter."`
}

// SessionList is one page of sessions, the newest first.
type SessionList struct {
	Sessions   []Session `json:"sessions"`
	Page       int       `json:"page"`
	PerPage    int       `json:"perPage"`
	Total      int       `json:"total" doc:"Sessions that match"`
	NextCursor string    `json:"nextCursor,omitempty" doc:"Absent on the last page"`
}

// SessionImport is the result of an import.
type SessionImport struct {
	Sessions []string `json:"sessions" doc:"Their ids, in the order of the file"`
	Events   int      `json:"events"`

	Dropped []ImportDropped `json:"dropped,omitempty" doc:"What the file has and was not asked for"`
}

// The parts of a session that an import drops unless it is asked to keep them, as
// they start programs, or answer permission requests, by the word of a file.
const (
	ImportEnv      = "env"      // the environment of the agent
	ImportMCP      = "mcp"      // MCP servers
	ImportSkills   = "skills"   // configured for the session
	ImportPolicy   = "policy"   // what decides permission requests
	ImportRules    = "rules"    // remembered by the reply always
	ImportSettings = "settings" // mode and options of the agent, but for the model
)

// ImportParts are all of them.
var ImportParts = []string{ImportEnv, ImportMCP, ImportSkills, ImportPolicy, ImportRules, ImportSettings}

// ImportDropped is a part of a session that an import has dropped.
type ImportDropped struct {
	Session string   `json:"session"`
	Part    string   `json:"part" enum:"env,mcp,skills,policy,rules,settings"`
	Names   []string `json:"names" doc:"Of what it has, without values"`
}

// SessionPromptRequest starts a turn.
type SessionPromptRequest struct {
	Prompt acp.Prompt `json:"prompt" doc:"Text, or content blocks of the Agent Client Protocol"`
	Queue  bool       `json:"queue,omitempty" doc:"Wait for the turn under way instead of failing with session_busy"`
}

// SessionTurn is how a turn ended.
type SessionTurn struct {
	StopReason    string     `json:"stopReason"`
	Text          string     `json:"text" doc:"What the agent said, without thoughts and tools"`
	TextTruncated bool       `json:"textTruncated,omitempty" doc:"The text was too long to repeat here; the events have all of it"`
	Usage         *acp.Usage `json:"usage,omitempty"`
	Turn          string     `json:"turn"`
	FirstEvent    uint64     `json:"firstEvent"`
	LastEvent     uint64     `json:"lastEvent"`
	Unsaved       bool       `json:"unsaved,omitempty" doc:"The disk of the server fails: the events of the turn are in its memory alone"`
}

// SessionTurnStarted answers a prompt whose end is not waited for.
type SessionTurnStarted struct {
	Turn       string `json:"turn"`
	FirstEvent uint64 `json:"firstEvent" doc:"The events of the turn have this number or a higher one"`
}

// SessionCancelResult is the result of a cancel.
type SessionCancelResult struct {
	Cancelled int  `json:"cancelled" doc:"Turns that ended, queued ones included"`
	Forced    bool `json:"forced" doc:"The agent did not obey and was stopped; the next prompt restores the session"`
}

// SessionModelRequest chooses a model.
type SessionModelRequest struct {
	Model string `json:"model"`
}

// SessionModeRequest chooses a mode. ModeID is another name for Mode.
type SessionModeRequest struct {
	Mode   string `json:"mode,omitempty"`
	ModeID string `json:"modeId,omitempty"`
}

// SessionThoughtLevelRequest chooses how hard the agent thinks.
type SessionThoughtLevelRequest struct {
	ThoughtLevel string `json:"thoughtLevel"`
}

// SessionConfigOptionRequest sets one option.
type SessionConfigOptionRequest struct {
	ConfigID string      `json:"configId"`
	Value    OptionValue `json:"value"`
}

// OptionValue is the value of an option as text: that of a select, or true or false
// of a boolean, which may be a boolean on the wire.
type OptionValue string

// UnmarshalJSON reads a string or a boolean.
func (v *OptionValue) UnmarshalJSON(data []byte) error {
	var flag bool
	if json.Unmarshal(data, &flag) == nil && string(data) != "null" {
		*v = OptionValue(strconv.FormatBool(flag))
		return nil
	}
	return json.Unmarshal(data, (*string)(v))
}

// SessionConfigOptions are the options of a session.
type SessionConfigOptions struct {
	ConfigOptions []acp.ConfigOption `json:"configOptions"`
}

// SessionModeList are the modes of a session.
type SessionModeList struct {
	Modes         []acp.Mode `json:"modes"`
	CurrentModeID string     `json:"currentModeId"`
}

// Who sends the events of a session.
const (
	SenderClient = "client"
	SenderAgent  = "agent"
	SenderServer = "server" // the only sender of its notifications
)

// SessionEvent is one frame of a session, or one of the server's own
// notifications, whose method begins with _session/.
type SessionEvent struct {
	ID           string          `json:"id" doc:"Session and number"`
	EventIndex   uint64          `json:"eventIndex" doc:"From 1, without holes"`
	SessionID    string          `json:"sessionId"`
	CreatedAt    int64           `json:"createdAt" doc:"Unix milliseconds"`
	ConnectionID string          `json:"connectionId"`
	Sender       string          `json:"sender" enum:"client,agent,server"`
	Payload      json.RawMessage `json:"payload" doc:"The whole JSON-RPC envelope"`
}

// SessionEvents is one page of events, in order.
type SessionEvents struct {
	Events     []SessionEvent `json:"events"`
	Page       int            `json:"page"`
	PerPage    int            `json:"perPage"`
	Total      uint64         `json:"total" doc:"Number of the newest event"`
	NextCursor string         `json:"nextCursor,omitempty" doc:"Value of after for the next page; absent when there is nothing more"`
	Gap        *Gap           `json:"gap,omitempty" doc:"Events that were asked for and are no longer kept"`
	Reset      *Reset         `json:"reset,omitempty" doc:"Set when the cursor is ahead of the last event"`
}

// SessionMessage is one entry of a transcript.
type SessionMessage struct {
	Role  string `json:"role" enum:"user,agent,thought,tool,plan,system"`
	Text  string `json:"text"`
	At    int64  `json:"at" doc:"Unix milliseconds"`
	Event uint64 `json:"event" doc:"Number of its first event"`
	Tool  string `json:"tool,omitempty" doc:"Id of the tool call"`
	State string `json:"state,omitempty" doc:"Of the tool call"`

	MessageID string `json:"messageId,omitempty" doc:"Id of the message, where the agent gives one"`
}

// SessionTranscript is a session for people and programs that want no frames.
type SessionTranscript struct {
	ID       string           `json:"id"`
	Agent    string           `json:"agent"`
	Title    string           `json:"title"`
	Messages []SessionMessage `json:"messages"`
}

// The methods of the notifications that the server adds to the events of a
// session.
const (
	EventSessionRestored          = "_session/restored"                   // params: SessionRestored
	EventPermissionResolved       = "_session/permission_resolved"        // params: PermissionResolved
	EventPermissionInvalid        = "_session/permission_invalid"         // a permission request that cannot be read was refused; params: PermissionInvalid
	EventPermissionRulesForgotten = "_session/permission_rules_forgotten" // a stricter default revoked them; params: PermissionRulesForgotten
	EventSessionNotice            = "_session/notice"                     // the agent lacks something that it was to have; params: SessionNotice
	EventFrameDropped             = "_session/frame_dropped"              // a frame of the agent was over a limit; params: FrameDropped
	EventPromptQueued             = "_session/prompt_queued"              // the agent cannot have it yet; params: SessionPromptQueued
	EventPromptDropped            = "_session/prompt_dropped"             // the agent never gets it; params: SessionTurnEnded
	EventTurnStarted              = "_session/turn_started"               // of a prompt that was queued; params: turn
	EventPromptResent             = "_session/prompt_resent"              // the agent ended before it read the prompt, the next one gets it; params: SessionPromptResent
	EventTurnEnded                = "_session/turn_ended"                 // of a turn that the agent did not answer; params: SessionTurnEnded
	EventSessionStopped           = "_session/stopped"                    // params: reason
	EventSessionDestroyed         = "_session/destroyed"
)

// SessionNotice says what an agent does not have although it is configured, and why.
type SessionNotice struct {
	About string `json:"about" enum:"mcp,skills"`
	Name  string `json:"name,omitempty" doc:"Of the MCP server"`
	Text  string `json:"text"`
}

// What a [SessionNotice] is about.
const (
	NoticeMCP    = "mcp"
	NoticeSkills = "skills"
)

// FrameDropped reports a frame of the agent that is lost.
type FrameDropped struct {
	Method string `json:"method,omitempty"`
	Error  string `json:"error" doc:"Names the limit"`
}

// SessionPromptQueued is a prompt that waits: for another turn to end, or for
// the agent to be started.
type SessionPromptQueued struct {
	Turn   string     `json:"turn"`
	Prompt acp.Prompt `json:"prompt"`
}

// SessionPromptResent reports that a prompt goes to a second agent. Its event is
// not repeated; the response has the id of its request.
type SessionPromptResent struct {
	Turn    string          `json:"turn"`
	Request json.RawMessage `json:"request"`
}

// SessionTurnEnded reports the end of a turn to which the agent sent no response.
type SessionTurnEnded struct {
	Turn       string `json:"turn,omitempty"`
	StopReason string `json:"stopReason,omitempty"`
	Error      string `json:"error,omitempty"`
}

// MetaPrimer marks, in _meta of a content block, the record of the
// session that the server gave to the agent, so that it is not taken for a prompt.
const MetaPrimer = "sandboxagent.dev/primer"

// MetaSessionID names, in _meta of the parameters of session/new, the id that a
// client wants for its session.
const MetaSessionID = "sandboxagent.dev/sessionId"

// The codes of sessions.
const (
	CodeSessionBusy             Code = "session_busy"
	CodeSessionDestroyed        Code = "session_destroyed"
	CodeSessionExists           Code = "session_already_exists"
	CodeAgentError              Code = "agent_error"
	CodeCancelTimeout           Code = "cancel_timeout"
	CodeInvalidSessionID        Code = "invalid_session_id"
	CodeInvalidPrompt           Code = "invalid_prompt"
	CodeUnsupportedCategory     Code = "unsupported_category"
	CodeUnsupportedValue        Code = "unsupported_value"
	CodeUnsupportedConfigOption Code = "unsupported_config_option"
	CodePermissionResolved      Code = "permission_resolved"
	CodeReplyNotAvailable       Code = "reply_not_available"
	CodeInvalidPermissionRule   Code = "invalid_permission_rule"
	CodeReservedName            Code = "reserved_name"
)

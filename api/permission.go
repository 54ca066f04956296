package api

import (
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// What a policy or a rule decides.
const (
	DecideAsk    = "ask"
	DecideAllow  = "allow"
	DecideReject = "reject"
)

// PermissionPolicy decides the questions of a session's agent. The first rule
// that matches counts, then Default.
type PermissionPolicy struct {
	Default     string           `json:"default,omitempty" enum:"ask,allow,reject" doc:"ask when absent"`
	Rules       []PermissionRule `json:"rules,omitempty"`
	ExpireAfter int64            `json:"expireAfterMs,omitempty" minimum:"0" doc:"A question nobody has answered for so long is cancelled; 0 waits for ever"`
}

// PermissionRule decides the questions that match all of its patterns.
type PermissionRule struct {
	ID       string `json:"id,omitempty" doc:"Given by the server"`
	Kind     string `json:"kind,omitempty" doc:"Kind of tool: read, edit, delete, move, search, execute, think, fetch, switch_mode, other"`
	Path     string `json:"path,omitempty" doc:"Glob for the paths the tool touches, ** for any number of folders; relative to the session's folder or absolute"`
	Command  string `json:"command,omitempty" doc:"Command with * for any text. In a rule that allows, * does not match what would chain or redirect commands."`
	Title    string `json:"title,omitempty" doc:"Exact title of the tool call"`
	Decision string `json:"decision" enum:"ask,allow,reject"`

	CreatedAt int64  `json:"createdAt,omitempty" doc:"Unix milliseconds; of a rule made by the reply always"`
	By        string `json:"by,omitempty" doc:"Who replied always"`
}

// PermissionRules are the rules of a session: those made by the reply always,
// which are asked first, and those of its policy.
type PermissionRules struct {
	Default    string           `json:"default"`
	Rules      []PermissionRule `json:"rules"`
	Remembered []PermissionRule `json:"remembered"`
}

// The replies to a permission.
const (
	ReplyOnce   = "once"
	ReplyAlways = "always"
	ReplyReject = "reject"
	ReplyCancel = "cancel" // nobody chooses, which most agents take as a reason to end the turn
	ReplyOption = "option" // in what was resolved: an option was chosen by its id
)

// Who answers permissions beside clients.
const (
	ByPolicy = "policy"
	ByExpiry = "expiry"
	ByCancel = "cancel"
	ByAgent  = "agent" // went on, or ended, without waiting for the answer
)

// byConnection begins the names of those who answer over the Agent Client
// Protocol.
const byConnection = "connection"

// ByConnection is who answers a permission request over an ACP connection.
func ByConnection(id string) string { return byConnection + " " + id }

// ReservedName reports whether a name stands for who answers beside the clients
// that have names, so that no client can have it.
func ReservedName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case ByPolicy, ByExpiry, ByCancel, ByAgent, SenderServer, byConnection:
		return true
	}
	return strings.HasPrefix(name, byConnection+" ")
}

// Permission is a question of an agent that waits for an answer.
type Permission struct {
	ID               string                 `json:"id"`
	SessionID        string                 `json:"sessionId"`
	AgentSessionID   string                 `json:"agentSessionId"`
	ToolCall         acp.ToolCall           `json:"toolCall"`
	Options          []acp.PermissionOption `json:"options"`
	AvailableReplies []string               `json:"availableReplies" doc:"once, always, reject, cancel; an option's id is taken too"`
	CreatedAt        int64                  `json:"createdAt" doc:"Unix milliseconds"`
	ExpiresAt        int64                  `json:"expiresAt,omitempty" doc:"Unix milliseconds"`
	Event            uint64                 `json:"event" doc:"Number of the event that asks"`
}

// PermissionList is the answer of GET /v1/sessions/{id}/permissions, the oldest
// first.
type PermissionList struct {
	Permissions []Permission `json:"permissions"`
}

// PermissionReply answers a permission: either is enough, OptionID counts first.
type PermissionReply struct {
	Reply    string `json:"reply,omitempty" doc:"once, always, reject, cancel, or the id of an option"`
	OptionID string `json:"optionId,omitempty"`
}

// PermissionInvalid tells that a permission request of the agent was refused, as
// it is not one that can be judged.
type PermissionInvalid struct {
	Event uint64 `json:"event,omitempty" doc:"Number of the event that asks; 0 when it is of no session that the agent may ask for"`
	Error string `json:"error"`
}

// PermissionResolved tells how a permission was answered.
type PermissionResolved struct {
	PermissionID string `json:"permissionId"`
	Reply        string `json:"reply" doc:"once, always, reject, cancel, or option for an option chosen by its id"`
	OptionID     string `json:"optionId,omitempty"`
	Rule         string `json:"rule,omitempty" doc:"Id of the rule that decided, or that always has made"`
	Reason       string `json:"reason,omitempty" doc:"Why the reply is not the one that the policy decides"`
	By           string `json:"by" doc:"A client, or policy, expiry, cancel, agent"`
	At           int64  `json:"at" doc:"Unix milliseconds"`
}

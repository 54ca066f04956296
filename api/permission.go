package api

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// What a policy or a rule decides.
const (
	DecideAsk    = "ask"
	DecideAllow  = "allow"
	DecideReject = "reject"
)

// PermissionKinds are the kinds of tool call that a policy can name. A call whose
// agent names another kind, or none, is [acp.ToolOther].
var PermissionKinds = []string{
	acp.ToolRead, acp.ToolEdit, acp.ToolDelete, acp.ToolMove, acp.ToolSearch,
	acp.ToolExecute, acp.ToolThink, acp.ToolFetch, acp.ToolSwitchMode, acp.ToolOther,
}

// PermissionPolicy decides the permission requests of a session's agent: a rule
// that rejects wins, then one that asks, then one that allows, then Default,
// whatever their order.
type PermissionPolicy struct {
	_ struct{} `additionalProperties:"false"`

	Default     PermissionDefault `json:"default,omitempty" doc:"One decision, or one per kind of tool call with * for the others; ask when absent"`
	Rules       []PermissionRule  `json:"rules,omitempty"`
	ExpireAfter int64             `json:"expireAfterMs,omitempty" minimum:"0" doc:"A permission request without a reply for so long is cancelled; 0 waits for ever"`
}

// PermissionDefault is the decision for each kind of tool call that no rule
// decides; DefaultKind stands for the kinds that it does not name. On the wire it
// is a decision, or an object of kinds and decisions. A nil one asks.
type PermissionDefault map[string]string

// DefaultKind is the member of a [PermissionDefault] for all other kinds.
const DefaultKind = "*"

// DefaultDecision is the default that is the same for every kind.
func DefaultDecision(decision string) PermissionDefault {
	return PermissionDefault{DefaultKind: decision}
}

// For returns the decision for a kind.
func (d PermissionDefault) For(kind string) string {
	return cmp.Or(d[kind], d[DefaultKind], DecideAsk)
}

// MarshalJSON writes a decision where it is the same for every kind.
func (d PermissionDefault) MarshalJSON() ([]byte, error) {
	if decision, ok := d[DefaultKind]; ok && len(d) == 1 {
		return json.Marshal(decision)
	}
	return json.Marshal(map[string]string(d))
}

// UnmarshalJSON reads both forms.
func (d *PermissionDefault) UnmarshalJSON(data []byte) error {
	var decision string
	if err := json.Unmarshal(data, &decision); err == nil {
		*d = nil
		if decision != "" {
			*d = DefaultDecision(decision)
		}
		return nil
	}
	var kinds map[string]string
	if err := json.Unmarshal(data, &kinds); err != nil {
		return err
	}
	*d = kinds
	return nil
}

// PermissionRule decides what matches all of its patterns. A rule that allows
// needs a kind, a path or a command; it covers a command only if it has a pattern
// for it, and needs every path of the call in its pattern where others need one.
type PermissionRule struct {
	_ struct{} `additionalProperties:"false"`

	ID       string `json:"id,omitempty" doc:"Given by the server"`
	Kind     string `json:"kind,omitempty" enum:"read,edit,delete,move,search,execute,think,fetch,switch_mode,other" doc:"Kind of tool call; what the call carries counts, not only what the agent calls it"`
	Path     string `json:"path,omitempty" doc:"Glob for the paths that the call touches, ** for any number of directories; absolute, or relative to the working directory"`
	Command  string `json:"command,omitempty" doc:"Words of a command, quoted as in a shell. A * that stands alone matches any number of words, one inside a word the rest of that word."`
	Decision string `json:"decision" enum:"ask,allow,reject"`

	CreatedAt int64  `json:"createdAt,omitempty" doc:"Unix milliseconds; of a rule made by the reply always"`
	By        string `json:"by,omitempty" doc:"Client that replied always"`
}

// PermissionRules are the rules of a session: those of its policy, and those that
// the reply always has made.
type PermissionRules struct {
	Default    PermissionDefault `json:"default"`
	Rules      []PermissionRule  `json:"rules"`
	Remembered []PermissionRule  `json:"remembered"`
	Words      map[string]string `json:"words" doc:"What each rule does, in words, by its id"`
}

// PermissionVerdict is what a policy says about a tool call, and why.
type PermissionVerdict struct {
	Decision      string           `json:"decision" enum:"ask,allow,reject"`
	Reason        string           `json:"reason" doc:"In words"`
	Rule          *PermissionRule  `json:"rule,omitempty" doc:"The rule that won; absent where the default decided"`
	Beaten        []PermissionRule `json:"beaten,omitempty" doc:"Rules that match too, and lost"`
	Kinds         []string         `json:"kinds" doc:"What the call does, from what it carries"`
	Commands      []string         `json:"commands,omitempty" doc:"Simple commands in it, those behind wrappers included"`
	Paths         []string         `json:"paths,omitempty" doc:"Paths that it touches, resolved through links"`
	NotUnderstood []string         `json:"notUnderstood,omitempty" doc:"What of the call cannot be judged, and why"`
}

// PermissionRulesForgotten names remembered rules that a stricter default revoked.
type PermissionRulesForgotten struct {
	Rules []PermissionRule `json:"rules"`
}

// The scopes of what the reply always remembers.
const (
	AlwaysExact     = "exact"     // this command word for word, or this file
	AlwaysDirectory = "directory" // the files in the directory of this one
)

// PermissionAlways is one way in which the reply always can be meant.
type PermissionAlways struct {
	Scope string         `json:"scope" enum:"exact,directory"`
	Text  string         `json:"text" doc:"What is allowed from then on, in words"`
	Rule  PermissionRule `json:"rule" doc:"What is remembered"`
}

// The replies to a permission.
const (
	ReplyOnce   = "once"
	ReplyAlways = "always"
	ReplyReject = "reject"
	ReplyCancel = "cancel" // no option is chosen, which most agents take as a reason to end the turn
	ReplyOption = "option" // in what was resolved: an option was chosen by its id
)

// What replies to permission requests besides clients.
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

// ReservedName reports whether a name stands for what replies apart from clients
// that have names, so that no client can have it.
func ReservedName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case ByPolicy, ByExpiry, ByCancel, ByAgent, SenderServer, byConnection:
		return true
	}
	return strings.HasPrefix(name, byConnection+" ")
}

// Permission is a permission request of an agent that waits for a reply.
type Permission struct {
	ID               string                 `json:"id"`
	SessionID        string                 `json:"sessionId"`
	AgentSessionID   string                 `json:"agentSessionId"`
	ToolCall         acp.ToolCall           `json:"toolCall"`
	Options          []acp.PermissionOption `json:"options"`
	AvailableReplies []string               `json:"availableReplies" doc:"once, always, reject, cancel; an option's id is taken too"`
	Always           []PermissionAlways     `json:"always,omitempty" doc:"What the reply always would remember, the narrowest first"`
	NoAlways         string                 `json:"noAlways,omitempty" doc:"Why the reply always is not available"`
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
	Scope    string `json:"scope,omitempty" enum:"exact,directory" doc:"Of the reply always; exact when absent"`
}

// PermissionInvalid reports that a permission request of the agent was refused,
// since it cannot be judged.
type PermissionInvalid struct {
	Event uint64 `json:"event,omitempty" doc:"Number of the event that asks; 0 when it is of no session that the agent may ask for"`
	Error string `json:"error"`
}

// PermissionResolved reports the reply to a permission request.
type PermissionResolved struct {
	PermissionID string `json:"permissionId"`
	Reply        string `json:"reply" doc:"once, always, reject, cancel, or option for an option chosen by its id"`
	OptionID     string `json:"optionId,omitempty"`
	Rule         string `json:"rule,omitempty" doc:"Id of the rule that decided, or that always has made"`
	Reason       string `json:"reason,omitempty" doc:"Why the reply is not the one that the policy decides"`
	By           string `json:"by" doc:"A client, or policy, expiry, cancel, agent"`
	At           int64  `json:"at" doc:"Unix milliseconds"`
}

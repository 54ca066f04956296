package sandboxagent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// What callers most often ask of an error, for errors.Is. Any other [api.Code]
// is matched in the same way.
var (
	// ErrUnauthorized means that the server wants another token.
	ErrUnauthorized error = api.CodeTokenInvalid

	// ErrAgentExited means that the process of an agent ended while a call
	// needed it. The next prompt starts it again. errors.As with
	// [*AgentExitedError] says more.
	ErrAgentExited error = api.CodeAgentProcessExited

	// ErrUnsupportedAgent means that the server knows no agent of that id.
	ErrUnsupportedAgent error = api.CodeUnsupportedAgent

	// ErrSessionNotFound means that no session, or no connection, has that id.
	ErrSessionNotFound error = api.CodeSessionNotFound

	// ErrSessionBusy means that a session has a turn under way.
	ErrSessionBusy error = api.Code("session_busy")

	// ErrClosed means that a [Terminal] was closed.
	ErrClosed = errors.New("closed")

	// ErrUnsupported means that an agent does not offer what was asked of it.
	// All errors of this package whose name starts with Unsupported match it.
	ErrUnsupported = errors.New("not supported by the agent")
)

// RPCError is what an agent answers when it refuses a call, such as a prompt
// without the API key it needs, for errors.As.
type RPCError = acp.RPCError

// An AgentExitedError says how the process of an agent ended. It matches
// [ErrAgentExited].
type AgentExitedError struct {
	Agent    string
	ExitCode *int   // nil when a signal ended it or nobody knows
	Signal   string // empty when it exited by itself
	Stderr   string // its last lines, as far as they are known
}

func (e *AgentExitedError) Error() string {
	text := "agent " + e.Agent + " exited"
	switch {
	case e.Signal != "":
		text += " on signal " + e.Signal
	case e.ExitCode != nil:
		text += fmt.Sprintf(" with code %d", *e.ExitCode)
	}
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

// Is reports whether target is [ErrAgentExited].
func (e *AgentExitedError) Is(target error) bool { return target == ErrAgentExited }

// An UnsupportedCategoryError means that an agent has no setting of a category,
// for example no choice of models.
type UnsupportedCategoryError struct {
	SessionID string
	Category  string   // "model", "mode" or "thought_level"
	Available []string // the categories there are, sorted
}

func (e *UnsupportedCategoryError) Error() string {
	return fmt.Sprintf("session %s has no setting for %s; it has %s", e.SessionID, e.Category, list(e.Available))
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedCategoryError) Is(target error) bool { return target == ErrUnsupported }

// An UnsupportedValueError means that a setting does not take a value.
type UnsupportedValueError struct {
	SessionID string
	Category  string // "uncategorized" when the setting has none
	ConfigID  string
	Value     string
	Allowed   []string
}

func (e *UnsupportedValueError) Error() string {
	return fmt.Sprintf("session %s: %s cannot be %q; it can be %s", e.SessionID, e.ConfigID, e.Value, list(e.Allowed))
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedValueError) Is(target error) bool { return target == ErrUnsupported }

// An UnsupportedOptionError means that a session has no config option of an id.
type UnsupportedOptionError struct {
	SessionID string
	ConfigID  string
	Available []string
}

func (e *UnsupportedOptionError) Error() string {
	return fmt.Sprintf("session %s has no option %q; it has %s", e.SessionID, e.ConfigID, list(e.Available))
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedOptionError) Is(target error) bool { return target == ErrUnsupported }

// An UnsupportedReplyError means that a permission request has no option for a
// reply. The request stays open.
type UnsupportedReplyError struct {
	PermissionID string
	Reply        Reply
	Available    []Reply
}

func (e *UnsupportedReplyError) Error() string {
	names := make([]string, len(e.Available))
	for i, r := range e.Available {
		names[i] = string(r)
	}
	return fmt.Sprintf("permission %s cannot be answered with %q; it takes %s", e.PermissionID, string(e.Reply), list(names))
}

// Is reports whether target is [ErrUnsupported].
func (e *UnsupportedReplyError) Is(target error) bool { return target == ErrUnsupported }

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// agentExited turns the server's word that an agent has ended into our type.
// Any other error is returned as it is.
func agentExited(agent string, err error) error {
	var problem *api.Error
	if !errors.As(err, &problem) || problem.Code != api.CodeAgentProcessExited {
		return err
	}
	exited := &AgentExitedError{Agent: agent}
	if code, ok := problem.Details["exitCode"].(float64); ok {
		n := int(code)
		exited.ExitCode = &n
	}
	exited.Signal, _ = problem.Details["signal"].(string)
	exited.Stderr, _ = problem.Details["stderr"].(string)
	return exited
}

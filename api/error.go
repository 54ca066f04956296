package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
)

// typePrefix starts the type of every problem document. It is the prefix of the
// earlier server, because clients of that server match on it.
const typePrefix = "urn:sandbox-agent:error:"

// Kind names a class of problem document. A kind fixes type, title and HTTP
// status, and is what the earlier clients match on; a [Code] within the kind
// says precisely what happened.
type Kind string

// The kinds of problem document.
const (
	KindInvalidRequest       Kind = "invalid_request"
	KindConflict             Kind = "conflict"
	KindUnsupportedAgent     Kind = "unsupported_agent"
	KindAgentNotInstalled    Kind = "agent_not_installed"
	KindInstallFailed        Kind = "install_failed"
	KindAgentProcessExited   Kind = "agent_process_exited"
	KindTokenInvalid         Kind = "token_invalid"
	KindPermissionDenied     Kind = "permission_denied"
	KindNotAcceptable        Kind = "not_acceptable"
	KindUnsupportedMediaType Kind = "unsupported_media_type"
	KindNotFound             Kind = "not_found"
	KindSessionNotFound      Kind = "session_not_found"
	KindSessionAlreadyExists Kind = "session_already_exists"
	KindModeNotSupported     Kind = "mode_not_supported"
	KindStreamError          Kind = "stream_error"
	KindTimeout              Kind = "timeout"
	KindPreconditionFailed   Kind = "precondition_failed"
	KindPayloadTooLarge      Kind = "payload_too_large"
	KindRangeNotSatisfiable  Kind = "range_not_satisfiable"
	KindMethodNotAllowed     Kind = "method_not_allowed"
	KindUnprocessable        Kind = "unprocessable"
	KindUnavailable          Kind = "unavailable"
	KindNotSupported         Kind = "not_supported"
	KindInternal             Kind = "internal"
)

type kindInfo struct {
	wireType Kind // the type on the wire, where it differs from the kind
	title    string
	status   int
	prefix   string // what a detail starts with
}

var kinds = map[Kind]kindInfo{
	KindInvalidRequest:       {"", "Invalid Request", http.StatusBadRequest, "invalid request: "},
	KindConflict:             {"", "Conflict", http.StatusConflict, "conflict: "},
	KindUnsupportedAgent:     {"", "Unsupported Agent", http.StatusBadRequest, "unsupported agent: "},
	KindAgentNotInstalled:    {"", "Agent Not Installed", http.StatusNotFound, "agent not installed: "},
	KindInstallFailed:        {"", "Install Failed", http.StatusInternalServerError, "install failed: "},
	KindAgentProcessExited:   {"", "Agent Process Exited", http.StatusInternalServerError, "agent process exited: "},
	KindTokenInvalid:         {"", "Token Invalid", http.StatusUnauthorized, ""},
	KindPermissionDenied:     {"", "Permission Denied", http.StatusForbidden, "permission denied: "},
	KindNotAcceptable:        {"", "Not Acceptable", http.StatusNotAcceptable, "not acceptable: "},
	KindUnsupportedMediaType: {"", "Unsupported Media Type", http.StatusUnsupportedMediaType, "unsupported media type: "},
	KindNotFound:             {"", "Not Found", http.StatusNotFound, "not found: "},
	KindSessionNotFound:      {"", "Session Not Found", http.StatusNotFound, "session not found: "},
	KindSessionAlreadyExists: {"", "Session Already Exists", http.StatusConflict, "session already exists: "},
	KindModeNotSupported:     {"", "Mode Not Supported", http.StatusBadRequest, "mode not supported: "},
	KindStreamError:          {"", "Stream Error", http.StatusBadGateway, "stream error: "},
	KindTimeout:              {"", "Timeout", http.StatusGatewayTimeout, ""},
	KindPreconditionFailed:   {KindInvalidRequest, "Precondition Failed", http.StatusPreconditionFailed, "invalid request: "},
	KindRangeNotSatisfiable:  {KindInvalidRequest, "Range Not Satisfiable", http.StatusRequestedRangeNotSatisfiable, "invalid request: "},
	KindPayloadTooLarge:      {KindInvalidRequest, "Payload Too Large", http.StatusRequestEntityTooLarge, "invalid request: "},
	KindMethodNotAllowed:     {KindInvalidRequest, "Method Not Allowed", http.StatusMethodNotAllowed, "invalid request: "},
	KindUnprocessable:        {KindInvalidRequest, "Unprocessable Entity", http.StatusUnprocessableEntity, "invalid request: "},
	KindUnavailable:          {"", "Service Unavailable", http.StatusServiceUnavailable, "unavailable: "},
	KindNotSupported:         {"", "Not Supported", http.StatusNotImplemented, "not supported: "},
	KindInternal:             {"", "Internal Error", http.StatusInternalServerError, ""},
}

// A Code is the stable machine name of what went wrong. It is an error itself,
// so that errors.Is(err, api.CodePathNotFound) holds on both sides of the wire.
type Code string

// Error returns the code with blanks for underscores.
func (c Code) Error() string { return strings.ReplaceAll(string(c), "_", " ") }

// The codes that more than one noun uses. The codes of one noun stand in its
// file; a problem without a code of its own carries its kind as the code.
const (
	CodeInvalidRequest   Code = "invalid_request"
	CodeInvalidJSON      Code = "invalid_json"
	CodeInvalidQuery     Code = "invalid_query"
	CodeEndpointNotFound Code = "endpoint_not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeLimitExceeded    Code = "limit_exceeded"
	CodeTokenInvalid     Code = "token_invalid"
	CodeOriginForbidden  Code = "origin_forbidden"
	CodeHostForbidden    Code = "host_forbidden"
	CodePermissionDenied Code = "permission_denied"
	CodePathNotFound     Code = "path_not_found"
	CodeAlreadyExists    Code = "already_exists"
	CodeNotFound         Code = "not_found"
	CodeSessionNotFound  Code = "session_not_found"
	CodeTimeout          Code = "timeout"
	CodeStorageFailed    Code = "storage_failed"
	CodeShuttingDown     Code = "shutting_down"
	CodeNotSupported     Code = "not_supported"
	CodeInternal         Code = "internal"
)

// Error is a problem document (RFC 9457) with the members that the earlier
// server sends plus Code and RequestID. Handlers return it, the server writes
// it, the SDK reads it back.
type Error struct {
	Type      string         `json:"type" doc:"Class of the problem, a URN"`
	Title     string         `json:"title"`
	Status    int            `json:"status" doc:"HTTP status code"`
	Detail    string         `json:"detail,omitempty" doc:"What happened, for people"`
	Code      Code           `json:"code,omitempty" doc:"Stable machine name of what happened"`
	Agent     string         `json:"agent,omitempty"`
	SessionID string         `json:"sessionId,omitempty"`
	Details   map[string]any `json:"details,omitempty"`
	RequestID string         `json:"requestId,omitempty"`

	cause error
}

// NewError returns the problem of a kind. An empty code means the kind's own
// name. The formatted message is the detail, after the prefix of the kind; a %w
// verb keeps the cause for errors.Is, and the cause never goes over the wire
// except as text of the message.
func NewError(kind Kind, code Code, format string, args ...any) *Error {
	info, ok := kinds[kind]
	if !ok {
		panic("api: unknown kind " + string(kind))
	}
	if code == "" {
		code = Code(kind)
	}
	wire := info.wireType
	if wire == "" {
		wire = kind
	}
	err := fmt.Errorf(format, args...)
	return &Error{
		Type:   typePrefix + string(wire),
		Title:  info.title,
		Status: info.status,
		Detail: info.prefix + err.Error(),
		Code:   code,
		cause:  err,
	}
}

// InvalidRequest returns a 400 problem.
func InvalidRequest(code Code, format string, args ...any) *Error {
	return NewError(KindInvalidRequest, code, format, args...)
}

// Conflict returns a 409 problem; its message is repeated in details.message.
func Conflict(code Code, format string, args ...any) *Error {
	e := NewError(KindConflict, code, format, args...)
	return e.With("message", e.cause.Error())
}

// StreamError returns a 502 problem, which the earlier server uses for every
// operating system error; its message is repeated in details.message.
func StreamError(code Code, format string, args ...any) *Error {
	e := NewError(KindStreamError, code, format, args...)
	return e.With("message", e.cause.Error())
}

// NotFound returns a 404 problem for a thing that has an id.
func NotFound(resource, id string) *Error {
	e := NewError(KindNotFound, Code(resource+"_not_found"), "%s %s", resource, id)
	return e.With("id", id).With("resource", resource)
}

// SessionNotFound returns a 404 problem with the id as sessionId.
func SessionNotFound(id string) *Error {
	e := NewError(KindSessionNotFound, "", "%s", id)
	e.SessionID = id
	return e
}

// TooLarge returns a 413 problem that names the limit and its value in bytes.
func TooLarge(limit string, n int64) *Error {
	e := NewError(KindPayloadTooLarge, CodeLimitExceeded, "payload exceeds %s (%d)", limit, n)
	return e.With("limit", limit).With("value", n)
}

// With sets a member of details and returns e.
func (e *Error) With(key string, value any) *Error {
	if e.Details == nil {
		e.Details = make(map[string]any)
	}
	e.Details[key] = value
	return e
}

// Error returns the detail, or the title when there is none.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Title
}

// GetStatus returns the HTTP status. With Error and ContentType it makes Error
// the error type of the HTTP framework.
func (e *Error) GetStatus() int { return e.Status }

// ContentType returns the media type of problem documents.
func (e *Error) ContentType(string) string { return "application/problem+json" }

// Unwrap returns the cause, which is nil for an error read from the wire.
func (e *Error) Unwrap() error { return e.cause }

// sentinels are the errors of the standard library that codes stand for.
var sentinels = map[Code]error{
	CodePathNotFound:     fs.ErrNotExist,
	CodeProgramNotFound:  fs.ErrNotExist,
	CodeAlreadyExists:    fs.ErrExist,
	CodeNotEmpty:         fs.ErrExist,
	CodePermissionDenied: fs.ErrPermission,
	CodeProtectedPath:    fs.ErrPermission,
	CodeReadOnly:         fs.ErrPermission,
	CodeInvalidPath:      fs.ErrInvalid,
	CodeNotSupported:     errors.ErrUnsupported,
	CodeTimeout:          context.DeadlineExceeded,
	CodeInputTimeout:     context.DeadlineExceeded,
}

// Is reports whether target is e's code, or the error of the standard library
// that the code stands for.
func (e *Error) Is(target error) bool {
	if code, ok := target.(Code); ok {
		return e.Code == code
	}
	stands, ok := sentinels[e.Code]
	return ok && target == stands
}

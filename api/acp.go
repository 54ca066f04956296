package api

// ACPServer is one ACP connection: one agent process that clients reach under
// an id of their choice.
type ACPServer struct {
	ServerID    string `json:"serverId"`
	Agent       string `json:"agent"`
	CreatedAtMs int64  `json:"createdAtMs" doc:"Unix milliseconds"`
	Status      string `json:"status" enum:"starting,running,exited"`
	PID         int    `json:"pid,omitempty" doc:"Process id of the agent while it runs"`
	LastEvent   uint64 `json:"lastEvent,omitempty" doc:"Id of the newest event"`
}

// ACPServerList is the answer of GET /v1/acp, sorted by server id.
type ACPServerList struct {
	Servers []ACPServer `json:"servers"`
}

// Reset says that a cursor was ahead of the stream it is of: the events up to there
// were lost with the disk that had them, or were those of an earlier stream of that
// name. What follows is behind Last.
type Reset struct {
	Cursor uint64 `json:"cursor" doc:"The cursor of the request"`
	Last   uint64 `json:"last" doc:"Number of the last event that there is"`
}

// Gap takes the place of events that retention has dropped.
type Gap struct {
	From uint64 `json:"from" doc:"First event that is gone"`
	To   uint64 `json:"to" doc:"Last event that is gone"`
}

// The codes of ACP connections.
const (
	CodeAgentRequired       Code = "agent_required"
	CodeAgentMismatch       Code = "agent_mismatch"
	CodeAgentStartFailed    Code = "agent_start_failed"
	CodeAgentProcessExited  Code = "agent_process_exited"
	CodeAgentNotReading     Code = "agent_not_reading"
	CodeConnectionClosed    Code = "connection_closed"
	CodeDuplicateID         Code = "duplicate_id"
	CodeInvalidFrame        Code = "invalid_frame"
	CodeFrameTooLong        Code = "frame_too_long"
	CodeReservedMethod      Code = "reserved_method" // only the server itself uses it
	CodeInvalidCursor       Code = "invalid_cursor"
	CodeUnsupportedAccept   Code = "not_acceptable"
	CodeUnsupportedBodyType Code = "unsupported_media_type"
)

package api

// Root is the answer of GET /.
type Root struct {
	Docs string `json:"docs" doc:"Path of the documentation of this API"`
	Name string `json:"name"`
}

// Health is the answer of GET /v1/health.
type Health struct {
	Status string `json:"status" doc:"ok while the server answers" example:"ok"`
}

// Version is the answer of GET /v1/version.
type Version struct {
	Name      string `json:"name" example:"sandbox-agent"`
	Version   string `json:"version" doc:"Version of the program"`
	Commit    string `json:"commit,omitempty" doc:"Revision it was built from"`
	GoVersion string `json:"goVersion"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	StartedAt int64  `json:"startedAt" doc:"Start of the server, Unix milliseconds"`
}

// Limits are the bounds that the server holds, as GET /v1/limits shows them.
// A problem with code limit_exceeded names one of these members.
type Limits struct {
	MaxBodyBytes         int64 `json:"maxBodyBytes" doc:"Bytes of a request body, except uploads"`
	MaxUploadBytes       int64 `json:"maxUploadBytes" doc:"Bytes of an uploaded file or archive"`
	MaxFrameBytes        int64 `json:"maxFrameBytes" doc:"Bytes of one ACP frame from an agent"`
	MaxConnections       int   `json:"maxConnections" doc:"Live ACP connections"`
	MaxPendingRequests   int   `json:"maxPendingRequests" doc:"Unanswered requests of one ACP connection"`
	MaxQueuedBytes       int64 `json:"maxQueuedBytes" doc:"Bytes waiting to be written to one agent"`
	RequestTimeoutMs     int64 `json:"requestTimeoutMs" doc:"Time an agent has for a reply, session/prompt excepted; milliseconds"`
	ShutdownTimeoutMs    int64 `json:"shutdownTimeoutMs" doc:"Time the server takes to stop, milliseconds"`
	JournalWindowBytes   int64 `json:"journalWindowBytes" doc:"Bytes of each event stream kept in memory"`
	JournalBacklogBytes  int64 `json:"journalBacklogBytes" doc:"Bytes of events that may wait for the disk before agents are held back"`
	JournalRetentionDays int   `json:"journalRetentionDays" doc:"Age at which events are dropped; 0 means never"`
}

// The codes of the server as a whole.
const (
	CodeTokenRequired Code = "token_required"
	CodePortInUse     Code = "port_in_use"
)

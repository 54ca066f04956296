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
	DataDir   string `json:"dataDir,omitempty" doc:"Directory where the server keeps what lasts"`
	AgentUser string `json:"agentUser,omitempty" doc:"User that agents and processes run as, if it is not the user of the server"`
	StartedAt int64  `json:"startedAt,omitempty" doc:"Start of the server, Unix milliseconds; absent from a program that is none"`
}

// Limits are the bounds that the server holds, as GET /v1/limits shows them.
// A problem with code limit_exceeded names one of these members. When a server
// is started, a zero means the default.
type Limits struct {
	MaxBodyBytes    int64 `json:"maxBodyBytes" doc:"Bytes of a request body, except uploads and content"`
	MaxContentBytes int64 `json:"maxContentBytes" doc:"Bytes of a prompt, or of a frame for an agent"`
	MaxFileBytes    int64 `json:"maxFileBytes" doc:"Bytes of one written file"`
	MaxUploadBytes  int64 `json:"maxUploadBytes" doc:"Bytes of one archive, unpacked, or of one import of sessions"`

	MaxHTTPConnections int   `json:"maxHttpConnections" doc:"Connections of clients that are open at once; by default what the file descriptors of the server allow"`
	MaxHeaderBytes     int   `json:"maxHeaderBytes" doc:"Bytes of the header of a request"`
	HeaderTimeoutMs    int64 `json:"headerTimeoutMs" doc:"Time for the header of a request to arrive, and for a client without a valid token to send its next request; milliseconds"`
	BodyStallMs        int64 `json:"bodyStallMs" doc:"Time for the next part of a request body to arrive; milliseconds"`
	ResponseStallMs    int64 `json:"responseStallMs" doc:"Time for a client to take the next part of a response or of a stream, whose connection is closed then; milliseconds"`

	MaxUploadEntries int `json:"maxUploadEntries" doc:"Entries of one archive"`
	MaxBatchFiles    int `json:"maxBatchFiles" doc:"Files of one batch"`
	MaxWatches       int `json:"maxWatches" doc:"Directories that one watch may hold"`
	MaxMatches       int `json:"maxMatches" doc:"Matches of one search"`

	MaxConnections     int   `json:"maxConnections" doc:"Agents that run at once; by default what the memory, the processes, and the file descriptors of the machine allow"`
	MaxPendingRequests int   `json:"maxPendingRequests" doc:"Unanswered requests of one ACP connection"`
	MaxQueuedBytes     int64 `json:"maxQueuedBytes" doc:"Bytes waiting to be written to one agent"`
	MaxFrameBytes      int64 `json:"maxFrameBytes" doc:"Bytes of one line of an agent"`
	RequestTimeoutMs   int64 `json:"requestTimeoutMs" doc:"Time an agent has for a reply, prompts excepted; milliseconds"`
	WriteStallMs       int64 `json:"writeStallMs" doc:"Time an agent has to take a frame from its input; milliseconds"`

	MaxSessions      int   `json:"maxSessions" doc:"Sessions that are kept, destroyed ones included"`
	MaxQueuedPrompts int   `json:"maxQueuedPrompts" doc:"Prompts that wait for one session"`
	MaxPrimerBytes   int   `json:"maxPrimerBytes" doc:"Bytes of transcript that a new agent gets of its session"`
	MaxTurnTextBytes int   `json:"maxTurnTextBytes" doc:"Bytes of text in the answer to a prompt"`
	IdleTimeoutMs    int64 `json:"idleTimeoutMs" doc:"Time after which the agent of an idle session is stopped; milliseconds"`
	CancelTimeoutMs  int64 `json:"cancelTimeoutMs" doc:"Time a cancelled turn has to end before its agent is stopped; milliseconds"`

	MaxTotalLogBytes     int64 `json:"maxTotalLogBytes" doc:"Bytes of output kept of all processes together; see also the configuration of processes"`
	MaxConcurrentRuns    int   `json:"maxConcurrentRuns" doc:"Runs of a program to its end at once; see also the configuration of processes"`
	RunGraceMs           int64 `json:"runGraceMs" doc:"Time between SIGTERM and SIGKILL for a run whose time is over or whose client has left; milliseconds"`
	MaxFinishedProcesses int   `json:"maxFinishedProcesses" doc:"Ended processes that are kept"`
	FinishedProcessAgeMs int64 `json:"finishedProcessAgeMs" doc:"How long ended processes are kept; milliseconds"`
	InputTimeoutMs       int64 `json:"inputTimeoutMs" doc:"Time a process has to take its input; milliseconds"`
	FollowStallMs        int64 `json:"followStallMs" doc:"Time a process waits for a follower of its output that takes nothing, who then finds a gap; milliseconds"`

	JournalWindowBytes   int64 `json:"journalWindowBytes" doc:"Bytes of each event stream kept in memory"`
	JournalBacklogBytes  int64 `json:"journalBacklogBytes" doc:"Bytes of events that may wait for the disk before agents are held back"`
	JournalRetentionDays int   `json:"journalRetentionDays" doc:"Age in days at which events are dropped"`
	MaxJournalEntries    int64 `json:"maxJournalEntries,omitempty" doc:"Events of one stream beyond which the oldest are dropped; without limit when absent"`
	MaxJournalBytes      int64 `json:"maxJournalBytes,omitempty" doc:"Bytes of one stream beyond which the oldest events are dropped; without limit when absent"`
	MaxJournalTotalBytes int64 `json:"maxJournalTotalBytes" doc:"Bytes of all streams together beyond which the oldest events are dropped, those of the streams that were not written to for the longest time first; a tenth of the disk by default"`

	ShutdownTimeoutMs int64 `json:"shutdownTimeoutMs" doc:"Time the server takes to stop; milliseconds"`
}

// The codes of the server as a whole.
const (
	CodeTokenRequired Code = "token_required"
	CodePortInUse     Code = "port_in_use"
)

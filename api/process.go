package api

// The codes of processes, terminals and logs.
const (
	CodeProcessNotFound   Code = "process_not_found"
	CodeProcessRunning    Code = "process_running"
	CodeProcessNotRunning Code = "process_not_running"
	CodeProcessLimit      Code = "process_limit_reached"
	CodeCommandEmpty      Code = "command_empty"
	CodeProgramNotFound   Code = "program_not_found"
	CodeSpawnFailed       Code = "spawn_failed"
	CodeUnknownSignal     Code = "unknown_signal"
	CodeNotATerminal      Code = "not_a_terminal"
	CodeTerminalClosed    Code = "terminal_closed"
	CodeStdinClosed       Code = "stdin_closed"
	CodeInputFailed       Code = "input_failed"
	CodeInputTimeout      Code = "input_timeout"
	CodeInvalidInput      Code = "invalid_input"
	CodeInvalidConfig     Code = "invalid_config"
)

// ProcessOwner says on whose behalf a process runs.
type ProcessOwner string

// The owners of processes. Those made through the API belong to the user.
const (
	OwnerUser    ProcessOwner = "user"
	OwnerDesktop ProcessOwner = "desktop"
	OwnerSystem  ProcessOwner = "system"
)

// ProcessStatus says whether a process runs.
type ProcessStatus string

// The states of a process.
const (
	ProcessRunning ProcessStatus = "running"
	ProcessExited  ProcessStatus = "exited"
)

// ProcessInfo describes a process that was created, running or not. ExitCode is nil
// while it runs and if a signal ended it; then ExitSignal names the signal.
type ProcessInfo struct {
	ID          string        `json:"id" doc:"proc_ and a number"`
	Command     string        `json:"command"`
	Args        []string      `json:"args"`
	Cwd         string        `json:"cwd,omitempty"`
	TTY         bool          `json:"tty"`
	Interactive bool          `json:"interactive"`
	Owner       ProcessOwner  `json:"owner" enum:"user,desktop,system"`
	Status      ProcessStatus `json:"status" enum:"running,exited"`
	PID         int           `json:"pid,omitempty" doc:"Only while it runs"`
	ExitCode    *int          `json:"exitCode,omitempty" doc:"Absent if a signal ended it"`
	ExitSignal  string        `json:"exitSignal,omitempty" doc:"The signal that ended it, such as SIGKILL"`
	CreatedAtMs int64         `json:"createdAtMs" doc:"Unix time in milliseconds"`
	ExitedAtMs  int64         `json:"exitedAtMs,omitempty" doc:"Unix time in milliseconds"`
}

// ProcessList is the answer to a list of processes, in the order of creation.
type ProcessList struct {
	Processes []ProcessInfo `json:"processes"`
}

// ProcessCreateRequest asks for a process that runs until it ends or is stopped.
// No shell is involved. Env is added to the server's own environment.
type ProcessCreateRequest struct {
	Command     string            `json:"command"`
	Args        []string          `json:"args,omitempty"`
	Cwd         *string           `json:"cwd,omitempty" doc:"Relative to the working directory of the server"`
	Env         map[string]string `json:"env,omitempty"`
	TTY         bool              `json:"tty,omitempty" doc:"Give it a terminal in place of pipes"`
	Interactive bool              `json:"interactive,omitempty" doc:"Reported back, without effect"`

	AwaitReaders int `json:"awaitReaders,omitempty" minimum:"0" maximum:"8" doc:"Followers of its output, or viewers of its terminal, that come at once: until they do, output waits for them as if they were there"`
}

// ProcessRunRequest asks for a process to be run to its end, with empty input.
// TimeoutMs wins over Timeout; zero or absent means the default, and more than
// the maximum means the maximum.
type ProcessRunRequest struct {
	Command        string            `json:"command"`
	Args           []string          `json:"args,omitempty"`
	Cwd            *string           `json:"cwd,omitempty" doc:"Relative to the working directory of the server"`
	Env            map[string]string `json:"env,omitempty"`
	TimeoutMs      *int64            `json:"timeoutMs,omitempty" minimum:"0" doc:"Milliseconds"`
	Timeout        *float64          `json:"timeout,omitempty" minimum:"0" doc:"Seconds"`
	GraceMs        *int64            `json:"graceMs,omitempty" minimum:"0" doc:"Milliseconds between SIGTERM and SIGKILL when the time is over; the limit runGraceMs if absent, and at most maxRunTimeoutMs"`
	MaxOutputBytes *int64            `json:"maxOutputBytes,omitempty" minimum:"0" doc:"For each of the two streams; of a longer one the beginning and the end are kept, with a line between them that says how much is left out"`
}

// ProcessRunResult is what a process that was run to its end did. ExitCode is
// nil if it ran out of time or a signal ended it. Bytes that are not UTF-8 are
// replaced in Stdout and Stderr.
type ProcessRunResult struct {
	ExitCode        *int   `json:"exitCode" nullable:"true"`
	TimedOut        bool   `json:"timedOut"`
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StdoutTruncated bool   `json:"stdoutTruncated"`
	StderrTruncated bool   `json:"stderrTruncated"`
	DurationMs      int64  `json:"durationMs"`
	ExitSignal      string `json:"exitSignal,omitempty" doc:"The signal that ended it, such as SIGKILL"`
}

// ProcessConfig is the set of limits that can be changed while the server runs.
type ProcessConfig struct {
	MaxConcurrentProcesses int   `json:"maxConcurrentProcesses"`
	DefaultRunTimeoutMs    int64 `json:"defaultRunTimeoutMs"`
	MaxRunTimeoutMs        int64 `json:"maxRunTimeoutMs"`
	MaxOutputBytes         int64 `json:"maxOutputBytes" doc:"Of run, for each of the two streams"`
	MaxLogBytesPerProcess  int64 `json:"maxLogBytesPerProcess"`
	MaxInputBytesPerReq    int64 `json:"maxInputBytesPerRequest"`
}

// ProcessConfigPatch changes a [ProcessConfig]; absent members stay as they are.
type ProcessConfigPatch struct {
	MaxConcurrentProcesses *int   `json:"maxConcurrentProcesses,omitempty"`
	DefaultRunTimeoutMs    *int64 `json:"defaultRunTimeoutMs,omitempty"`
	MaxRunTimeoutMs        *int64 `json:"maxRunTimeoutMs,omitempty"`
	MaxOutputBytes         *int64 `json:"maxOutputBytes,omitempty"`
	MaxLogBytesPerProcess  *int64 `json:"maxLogBytesPerProcess,omitempty"`
	MaxInputBytesPerReq    *int64 `json:"maxInputBytesPerRequest,omitempty"`
}

// LogStream names a stream of output.
type LogStream string

// The streams of output. Combined stands for stdout and stderr; a process with
// a terminal has only pty.
const (
	LogStdout   LogStream = "stdout"
	LogStderr   LogStream = "stderr"
	LogCombined LogStream = "combined"
	LogPTY      LogStream = "pty"
)

// LogEntry is one piece of output as it was read, not a line. Sequence counts
// from 1 over all streams of a process. SkippedBytes is how much of the front of
// the piece is missing because it was larger than the log may be.
type LogEntry struct {
	Sequence     uint64    `json:"sequence"`
	Stream       LogStream `json:"stream" enum:"stdout,stderr,pty"`
	TimestampMs  int64     `json:"timestampMs"`
	Data         []byte    `json:"data" doc:"Base64"`
	Encoding     string    `json:"encoding" enum:"base64"`
	SkippedBytes int64     `json:"skippedBytes,omitempty"`
}

// LogGap says that the entries From to To, both included, are no longer kept.
type LogGap struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// ProcessLogs is a part of the log of a process. More says that a limit cut it
// short: the next part is since the last sequence.
type ProcessLogs struct {
	ProcessID string     `json:"processId"`
	Stream    LogStream  `json:"stream"`
	Entries   []LogEntry `json:"entries"`
	Gap       *LogGap    `json:"gap,omitempty" doc:"Entries that were asked for but are no longer kept"`
	More      bool       `json:"more,omitempty"`
}

// ProcessInputRequest is input for a process. Without an encoding Data is base64
// here, and text in a terminal's frames.
type ProcessInputRequest struct {
	Data     string  `json:"data"`
	Encoding *string `json:"encoding,omitempty" doc:"base64 (the default), utf8 or text"`
}

// ProcessInputResult says how much of the input the process took.
type ProcessInputResult struct {
	BytesWritten int `json:"bytesWritten"`
}

// ProcessSignalRequest names a signal: a name with or without SIG, or a number.
type ProcessSignalRequest struct {
	Signal any `json:"signal,omitempty" doc:"A name such as SIGINT or INT, or a number"`
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct {
	Cols uint16 `json:"cols" minimum:"0" maximum:"65535"`
	Rows uint16 `json:"rows" minimum:"0" maximum:"65535"`
}

// TerminalInput is a text frame from a viewer of a terminal: input, resize or
// close.
type TerminalInput struct {
	Type     string  `json:"type"`
	Data     string  `json:"data,omitempty"`
	Encoding *string `json:"encoding,omitempty" doc:"utf8 or text (the default), or base64"`
	Cols     uint16  `json:"cols,omitempty"`
	Rows     uint16  `json:"rows,omitempty"`
}

// TerminalEvent is a text frame to a viewer of a terminal: ready, gap, exit or
// error. Output itself comes as binary frames. From and To of a gap are offsets
// in bytes, To not included.
type TerminalEvent struct {
	Type       string  `json:"type"`
	ProcessID  string  `json:"processId,omitempty"`
	Offset     *uint64 `json:"offset,omitempty" doc:"Where the next binary frame starts, in bytes"`
	From       *uint64 `json:"from,omitempty"`
	To         *uint64 `json:"to,omitempty"`
	ExitCode   *int    `json:"exitCode,omitempty"`
	ExitSignal string  `json:"exitSignal,omitempty"`
	Message    string  `json:"message,omitempty"`
}

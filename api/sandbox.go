package api

// Sandbox is the state of the whole sandbox, as GET /v1/sandbox shows it.
type Sandbox struct {
	Status    SandboxStatus `json:"status" enum:"running,paused,stopping"`
	Agents    int           `json:"agents" doc:"Agents that run"`
	Processes int           `json:"processes" doc:"Processes that run"`

	Incomplete bool `json:"incomplete,omitempty" doc:"Something goes on that was to be paused, such as a process of another user"`
}

// Paused is the error of new work that arrives while the sandbox is paused.
func Paused() *Error {
	return Conflict(CodeSandboxPaused, "the sandbox is paused and takes no new work; resume it with POST /v1/sandbox/resume")
}

// SandboxStatus is the state of a sandbox.
type SandboxStatus string

// The states of a sandbox.
const (
	SandboxRunning  SandboxStatus = "running"
	SandboxPaused   SandboxStatus = "paused"
	SandboxStopping SandboxStatus = "stopping"
)

// The codes of sandboxes and of what makes them.
const (
	CodeSandboxNotFound     Code = "sandbox_not_found"
	CodeSandboxPaused       Code = "sandbox_paused"
	CodeSandboxNotRunning   Code = "sandbox_not_running"
	CodeSandboxFailed       Code = "sandbox_failed"
	CodeInvalidSpec         Code = "invalid_spec"
	CodeUnsupportedSpec     Code = "unsupported_spec"
	CodeBootstrapFailed     Code = "bootstrap_failed"
	CodeProviderUnavailable Code = "provider_unavailable"
	CodeUnsavedWork         Code = "unsaved_work"
	CodeChangesConflict     Code = "changes_conflict"
)

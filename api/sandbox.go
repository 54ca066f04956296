package api

// Sandbox is the state of the whole sandbox, as GET /v1/sandbox shows it.
type Sandbox struct {
	Status    SandboxStatus `json:"status" enum:"running,paused,stopping"`
	Agents    int           `json:"agents" doc:"Agents that run"`
	Processes int           `json:"processes" doc:"Processes that run"`
}

// SandboxStatus is the state of a sandbox.
type SandboxStatus string

// The states of a sandbox.
const (
	SandboxRunning  SandboxStatus = "running"
	SandboxPaused   SandboxStatus = "paused"
	SandboxStopping SandboxStatus = "stopping"
)

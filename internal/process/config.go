package process

import (
	"cmp"

	"github.com/sandboxagent/sandboxagent/api"
)

// DefaultConfig returns the limits that hold until a client changes them.
func DefaultConfig() api.ProcessConfig {
	return api.ProcessConfig{
		MaxConcurrentProcesses: 64,
		DefaultRunTimeoutMs:    30_000,
		MaxRunTimeoutMs:        300_000,
		MaxOutputBytes:         1 << 20,
		MaxLogBytesPerProcess:  10 << 20,
		MaxInputBytesPerReq:    64 << 10,
	}
}

func configWithDefaults(c api.ProcessConfig) api.ProcessConfig {
	d := DefaultConfig()
	c = api.ProcessConfig{
		MaxConcurrentProcesses: cmp.Or(c.MaxConcurrentProcesses, d.MaxConcurrentProcesses),
		DefaultRunTimeoutMs:    cmp.Or(c.DefaultRunTimeoutMs, d.DefaultRunTimeoutMs),
		MaxRunTimeoutMs:        cmp.Or(c.MaxRunTimeoutMs, d.MaxRunTimeoutMs),
		MaxOutputBytes:         cmp.Or(c.MaxOutputBytes, d.MaxOutputBytes),
		MaxLogBytesPerProcess:  cmp.Or(c.MaxLogBytesPerProcess, d.MaxLogBytesPerProcess),
		MaxInputBytesPerReq:    cmp.Or(c.MaxInputBytesPerReq, d.MaxInputBytesPerReq),
	}
	c.DefaultRunTimeoutMs = min(c.DefaultRunTimeoutMs, c.MaxRunTimeoutMs)
	return c
}

// Config returns the limits that hold now.
func (s *Supervisor) Config() api.ProcessConfig { return *s.settings.Load() }

// SetConfig changes the limits that the patch names and returns all of them. It
// changes nothing if one of them is not positive. A default timeout over the
// maximum is lowered to it.
func (s *Supervisor) SetConfig(patch api.ProcessConfigPatch) (*api.ProcessConfig, error) {
	s.mu.Lock()
	c := *s.settings.Load()
	set(&c.MaxConcurrentProcesses, patch.MaxConcurrentProcesses)
	set(&c.DefaultRunTimeoutMs, patch.DefaultRunTimeoutMs)
	set(&c.MaxRunTimeoutMs, patch.MaxRunTimeoutMs)
	set(&c.MaxOutputBytes, patch.MaxOutputBytes)
	set(&c.MaxLogBytesPerProcess, patch.MaxLogBytesPerProcess)
	set(&c.MaxInputBytesPerReq, patch.MaxInputBytesPerReq)
	var text string
	switch {
	case c.MaxConcurrentProcesses <= 0:
		text = "maxConcurrentProcesses must be greater than 0"
	case c.DefaultRunTimeoutMs <= 0 || c.MaxRunTimeoutMs <= 0:
		text = "timeouts must be greater than 0"
	case c.MaxOutputBytes <= 0 || c.MaxLogBytesPerProcess <= 0 || c.MaxInputBytesPerReq <= 0:
		text = "byte limits must be greater than 0"
	}
	if text != "" {
		s.mu.Unlock()
		return nil, api.InvalidRequest(api.CodeInvalidConfig, "%s", text)
	}
	c.DefaultRunTimeoutMs = min(c.DefaultRunTimeoutMs, c.MaxRunTimeoutMs)
	s.settings.Store(&c)
	s.mu.Unlock()
	for _, p := range s.all() {
		p.out.setLimit(c.MaxLogBytesPerProcess)
	}
	return &c, nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

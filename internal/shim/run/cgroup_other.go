//go:build !linux

package run

import (
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/provider"
)

// cgroup does nothing where the system has none.
type cgroup struct{}

func openCgroup(string) *cgroup { return new(cgroup) }

func (*cgroup) dirs() []string                           { return nil }
func (*cgroup) pause() string                            { return "signals" }
func (*cgroup) limits() []string                         { return []string{} }
func (*cgroup) limit(provider.Resources) error           { return nil }
func (*cgroup) start(s child.Spec) (*child.Child, error) { return child.Start(s) }

func (*cgroup) freeze(bool) error { return nil }
func (*cgroup) kill()             {}
func (*cgroup) empty()            {}
func (*cgroup) remove()           {}

//go:build !linux

// Package cgroup puts each child of this program into a control group, where that can
// be done, which is not the case here.
package cgroup

import (
	"errors"
	"syscall"
)

// Root makes no groups here.
type Root struct{}

// Group is none.
type Group struct{}

// Open fails here.
func Open() (*Root, error) { return nil, errors.ErrUnsupported }

// New returns nil.
func (*Root) New() *Group { return nil }

// Close does nothing.
func (*Root) Close() {}

// Descriptor says that there is none.
func (*Group) Descriptor() (int, bool) { return 0, false }

// Add does nothing.
func (*Group) Add(int) {}

// PIDs returns nothing.
func (*Group) PIDs() []int { return nil }

// Empty reports true.
func (*Group) Empty() bool { return true }

// Signal does nothing.
func (*Group) Signal(syscall.Signal) {}

// Freeze does nothing.
func (*Group) Freeze() {}

// AwaitFrozen does nothing.
func (*Group) AwaitFrozen() {}

// Thaw does nothing.
func (*Group) Thaw() {}

// Release does nothing.
func (*Group) Release() {}

//go:build !linux

package run

import "errors"

// EnterNetwork is for Linux.
func EnterNetwork(_, _ []string) error { return errors.ErrUnsupported }

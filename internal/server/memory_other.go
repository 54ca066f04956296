//go:build !linux

package server

// releaseStart does nothing where it is not known how.
func releaseStart() {}

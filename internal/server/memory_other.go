//go:build !linux

package server

// releaseMemory does nothing where it is not known how.
func releaseMemory() {}

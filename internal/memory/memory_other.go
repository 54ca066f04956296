//go:build !linux

// Package memory gives memory back that a program has mapped but does not use.
package memory

// ReleaseProgram does nothing where it is not known how.
func ReleaseProgram() {}

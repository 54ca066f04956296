//go:build !linux

package reaper

// Early does nothing here.
func Early() {}

// Join does nothing here.
func Join() {}

// Ensure does nothing here.
func Ensure() error { return nil }

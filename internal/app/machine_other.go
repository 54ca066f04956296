//go:build !linux

package app

// thisMachine returns what this process may have, as far as it is known.
func thisMachine() machine { return machine{files: maxFiles()} }

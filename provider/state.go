package provider

import (
	"cmp"
	"path/filepath"
)

// StateDir returns where the sandboxes of a user are kept on this host, given
// XDG_STATE_HOME, which may be empty, and the home directory. The SDK and the
// command line look there, so that each finds what the other has made.
func StateDir(stateHome, home string) string {
	return filepath.Join(cmp.Or(stateHome, filepath.Join("/", home, ".local", "state")), "sandbox-agent")
}

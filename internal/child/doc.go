// Package child starts, watches and ends child processes. It is the only package
// that does.
//
// [Start] gives a [Child]: one process in a session of its own, with pipes or a
// terminal.
//
// Three promises hold for every child. It is always waited for, so that no
// zombie is left. A signal reaches its whole session and all its descendants, so that
// no orphan is left, not even when this program is killed (see the guard). No call waits
// for a pipe that a descendant holds open.
//
// The package starts no shell by itself, except the guard.
package child

// Package process is the supervisor of the processes that users see: they have
// ids, logs, limits, input and viewers. What runs is a [child.Child].
//
// The package knows nothing of HTTP and starts no shell by itself.
package process

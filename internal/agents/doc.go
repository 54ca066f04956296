// Package agents knows the coding agents: what each can do, how it is found,
// installed and started, and which credentials it needs.
//
// An agent is a value of type [Agent] in a file of its own, and its line in
// [All] is what makes it known; whatever is special about it is a field. The
// [Catalogue] answers for one machine: it looks for programs, installs them
// with npm into the data directory, and returns what to start.
//
// The package starts no agent: [Catalogue.Launch] gives a command, others run
// it. It reads no environment; it is handed one.
package agents

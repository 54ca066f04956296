// Package agents proves the main job on real coding agents: our server, installed
// agents from npm, and a scripted model in place of a vendor's. Only the install
// uses the network. Its tests have the build tag conformance.
package agents

// Package api holds the wire types of the sandbox-agent HTTP API and its error
// codes. It is the one truth that the server, the SDK, the command line and the
// OpenAPI document share; it has no behaviour beyond small methods on its types
// and imports nothing but the standard library.
package api

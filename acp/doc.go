// Package acp holds what this project needs of the Agent Client Protocol: a
// classifier for frames that pass through untouched ([Parse]), types for the
// places where we are the client or the agent ourselves, and a line-delimited
// JSON-RPC connection ([Conn]).
//
// It is not a complete binding of the protocol. Frames between a client and an
// agent are forwarded as the bytes they arrived in; the types here are for
// reading some of them and for writing our own, and fields they do not know are
// dropped only when a frame is encoded from them.
package acp

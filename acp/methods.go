package acp

import "strings"

// ProtocolVersion is the version of the protocol on the wire.
const ProtocolVersion = 1

// Methods a client calls.
const (
	MethodInitialize       = "initialize"
	MethodAuthenticate     = "authenticate"
	MethodSessionNew       = "session/new"
	MethodSessionLoad      = "session/load"
	MethodSessionResume    = "session/resume"
	MethodSessionList      = "session/list"
	MethodSessionClose     = "session/close"
	MethodSessionDelete    = "session/delete"
	MethodSessionPrompt    = "session/prompt"
	MethodSessionCancel    = "session/cancel" // a notification
	MethodSetMode          = "session/set_mode"
	MethodSetModel         = "session/set_model"
	MethodSetConfigOption  = "session/set_config_option"
	MethodCancelRequest    = "$/cancel_request" // a notification, both ways
	MethodAgentList        = "_sandboxagent/agent/list"
	MethodAgentInstall     = "_sandboxagent/agent/install"
	MethodAdapterExited    = "_adapter/agent_exited"   // a notification the bridge makes
	MethodAdapterBadStdout = "_adapter/invalid_stdout" // a notification the bridge makes
)

// Methods an agent calls.
const (
	MethodSessionUpdate     = "session/update" // a notification
	MethodRequestPermission = "session/request_permission"
	MethodReadTextFile      = "fs/read_text_file"
	MethodWriteTextFile     = "fs/write_text_file"
)

// reservedPrefixes begin the methods of the notifications that the server itself
// adds to event streams. Neither agents nor clients may send them.
var reservedPrefixes = []string{"_session/", "_adapter/", "_server/"}

// Reserved reports whether a method is one that only the server itself uses.
func Reserved(method string) bool {
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(method, prefix) {
			return true
		}
	}
	return false
}

package acp

// MessageBorder finds where a message of an agent ends and the next one begins, since
// messages arrive in chunks. The zero value is for the beginning of a turn.
type MessageBorder struct {
	kind string // of the last update that is a part of the conversation
	id   string // of the message, once a chunk has given it
}

// MessageSeparator stands between two messages in one text.
const MessageSeparator = "\n\n"

// Begins takes the next update and reports whether it is the first chunk of a message:
// the message before had another id, or something else was said or done meanwhile. A
// chunk without an id is of the same message as the one before it. What changes a tool
// call or the state of the session ends no message.
func (b *MessageBorder) Begins(kind, messageID string) bool {
	switch kind {
	case UpdateUserMessage, UpdateAgentMessage, UpdateAgentThought:
	case UpdateToolCall, UpdatePlan:
		*b = MessageBorder{kind: kind}
		return false
	default:
		return false
	}
	if b.kind == kind && (messageID == "" || b.id == "" || b.id == messageID) {
		if messageID != "" {
			b.id = messageID
		}
		return false
	}
	*b = MessageBorder{kind, messageID}
	return true
}

package sandboxagent

import (
	"encoding/base64"
	"encoding/json"

	"github.com/sandboxagent/sandboxagent/acp"
)

// A ContentBlock is a piece of a prompt.
type ContentBlock = acp.ContentBlock

// Text returns a block of text.
func Text(text string) ContentBlock { return acp.TextBlock(text) }

// Image returns a block with an image, for agents that take them.
func Image(data []byte, mimeType string) ContentBlock {
	return ContentBlock{Type: acp.ContentImage, Data: base64.StdEncoding.EncodeToString(data), MimeType: mimeType}
}

// Audio returns a block with a recording, for agents that take them.
func Audio(data []byte, mimeType string) ContentBlock {
	return ContentBlock{Type: acp.ContentAudio, Data: base64.StdEncoding.EncodeToString(data), MimeType: mimeType}
}

// ResourceLink returns a block that points at something the agent can read by
// itself, for example a file:// URI in the sandbox.
func ResourceLink(uri, name string) ContentBlock {
	return ContentBlock{Type: acp.ContentResourceLink, URI: uri, Name: name}
}

// Resource returns a block with the text of a resource, for agents that take
// embedded context.
func Resource(uri, mimeType, text string) ContentBlock {
	raw, err := json.Marshal(struct {
		URI      string `json:"uri"`
		MimeType string `json:"mimeType,omitempty"`
		Text     string `json:"text"`
	}{uri, mimeType, text})
	if err != nil {
		panic(err) // strings always encode
	}
	return ContentBlock{Type: acp.ContentResource, Resource: raw}
}

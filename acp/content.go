package acp

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Types of content block.
const (
	ContentText         = "text"
	ContentImage        = "image"
	ContentAudio        = "audio"
	ContentResource     = "resource"
	ContentResourceLink = "resource_link"
)

// A ContentBlock is a piece of a prompt or of a message. Which fields count
// depends on Type.
type ContentBlock struct {
	Type     string          `json:"type"`
	Text     string          `json:"text,omitempty"`
	Data     string          `json:"data,omitempty"` // base64
	MimeType string          `json:"mimeType,omitempty"`
	URI      string          `json:"uri,omitempty"`
	Name     string          `json:"name,omitempty"`
	Title    string          `json:"title,omitempty"`
	Resource json.RawMessage `json:"resource,omitempty"`
	Meta     json.RawMessage `json:"_meta,omitempty"`
}

// TextBlock returns a block of text.
func TextBlock(text string) ContentBlock { return ContentBlock{Type: ContentText, Text: text} }

// MarshalJSON writes the fields that the protocol requires of a type even if they are
// empty.
func (b ContentBlock) MarshalJSON() ([]byte, error) {
	type plain ContentBlock
	switch b.Type {
	case ContentText:
		return encode(struct {
			Type string          `json:"type"`
			Text string          `json:"text"`
			Meta json.RawMessage `json:"_meta,omitempty"`
		}{b.Type, b.Text, b.Meta})
	case ContentImage, ContentAudio:
		return encode(struct {
			plain
			Data     string `json:"data"`
			MimeType string `json:"mimeType"`
		}{plain(b), b.Data, b.MimeType})
	case ContentResourceLink:
		return encode(struct {
			plain
			URI  string `json:"uri"`
			Name string `json:"name"`
		}{plain(b), b.URI, b.Name})
	}
	return encode(plain(b))
}

// A Prompt is what a turn starts with. It also reads from a bare string and from
// a single block, which some clients send.
type Prompt []ContentBlock

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Prompt) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) > 0 && data[0] == '"':
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		*p = Prompt{TextBlock(text)}
		return nil
	case len(data) > 0 && data[0] == '{':
		var b ContentBlock
		if err := json.Unmarshal(data, &b); err != nil {
			return err
		}
		*p = Prompt{b}
		return nil
	}
	return json.Unmarshal(data, (*[]ContentBlock)(p))
}

// Text returns the text blocks, one a line.
func (p Prompt) Text() string {
	var texts []string
	for _, b := range p {
		if b.Type == ContentText {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// encode is json.Marshal that leaves < > & as they are: frames are read by
// people too.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

package fakemodel

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Model is the name of the model in the configurations that [Wire] writes; any
// other name works as well.
const Model = "fake-model"

// A Turn is the answer to one request: an error, or thinking, text and calls, in
// that order, each optional.
type Turn struct {
	Delay    Duration `json:"delay,omitempty"` // before the first byte
	Pace     Duration `json:"pace,omitempty"`  // between the pieces of a text
	Error    *Fault   `json:"error,omitempty"`
	Thinking string   `json:"thinking,omitempty"`
	Text     string   `json:"text,omitempty"`
	Calls    []Call   `json:"calls,omitempty"`
}

// A Fault is an HTTP error.
type Fault struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// A Call is the use of a tool. Input is an object.
type Call struct {
	Name      string          `json:"name"`
	Namespace string          `json:"namespace,omitempty"` // OpenAI Responses only
	Input     json.RawMessage `json:"input"`

	id string
}

// A Duration is written as in Go: "1.5s".
type Duration time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

// ReadScript reads a JSON array of turns.
func ReadScript(r io.Reader) ([]Turn, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var turns []Turn
	if err := d.Decode(&turns); err != nil {
		return nil, fmt.Errorf("read script: %w", err)
	}
	for i, t := range turns {
		if t.Error != nil && (t.Error.Status < 400 || t.Error.Status > 599) {
			return nil, fmt.Errorf("read script: turn %d: %d is not an error status", i, t.Error.Status)
		}
	}
	return turns, nil
}

// A Request is what an agent asked, in the same words for every API.
type Request struct {
	Dialect  string    `json:"dialect"` // anthropic, responses, chat or gemini
	Path     string    `json:"path"`
	Model    string    `json:"model"`
	Stream   bool      `json:"stream"`
	Messages []Message `json:"messages"`
	Tools    []Tool    `json:"tools,omitempty"`

	// Choice is the tool that must be called, "*" if any must; empty if none.
	Choice string `json:"choice,omitempty"`

	// Format is the JSON schema of the answer, nil for free text.
	Format json.RawMessage `json:"format,omitempty"`
}

// A Message is one block of the conversation. Role is system, user, assistant,
// call or result; the last two are the use of a tool and what came of it.
type Message struct {
	Role string `json:"role"`
	Text string `json:"text"`
}

// A Tool is something the agent offers. Schema describes its input.
type Tool struct {
	Name      string          `json:"name"`
	Namespace string          `json:"namespace,omitempty"`
	Schema    json.RawMessage `json:"schema,omitempty"`
}

// tokens estimates the size of the request and of the response.
func tokens(req Request, t Turn) (in, out int) {
	for _, m := range req.Messages {
		in += len(m.Text)
	}
	out = len(t.Text) + len(t.Thinking)
	for _, c := range t.Calls {
		out += len(c.Input)
	}
	return in/4 + 1, out/4 + 1
}

// textOf reads a text that is a string, or a list of blocks that have a text.
func textOf(raw json.RawMessage) []string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text == "" {
			return nil
		}
		return []string{text}
	}
	var blocks []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &blocks) != nil {
		return nil
	}
	var texts []string
	for _, b := range blocks {
		if b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	return texts
}

// add appends one message for each text.
func (r *Request) add(role string, texts ...string) {
	for _, text := range texts {
		r.Messages = append(r.Messages, Message{role, text})
	}
}

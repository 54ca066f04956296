package fakemodel

import (
	"encoding/json"
	"fmt"
	"strings"
)

type object = map[string]any

func decodeMessages(_ string, body []byte) (Request, error) {
	var in struct {
		Model    string          `json:"model"`
		Stream   bool            `json:"stream"`
		System   json.RawMessage `json:"system"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Tools []struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"input_schema"`
		} `json:"tools"`
		Choice struct {
			Type string `json:"type"`
			Name string `json:"name"`
		} `json:"tool_choice"`
		Output struct {
			Format struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"format"`
		} `json:"output_config"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	req := Request{Model: in.Model, Stream: in.Stream, Format: in.Output.Format.Schema}
	req.add("system", textOf(in.System)...)
	for _, m := range in.Messages {
		addBlocks(&req, m.Role, m.Content)
	}
	for _, t := range in.Tools {
		req.Tools = append(req.Tools, Tool{Name: t.Name, Schema: t.Schema})
	}
	switch in.Choice.Type {
	case "any":
		req.Choice = "*"
	case "tool":
		req.Choice = in.Choice.Name
	}
	return req, nil
}

func addBlocks(req *Request, role string, content json.RawMessage) {
	var blocks []struct {
		Type    string          `json:"type"`
		Text    string          `json:"text"`
		Name    string          `json:"name"`
		Input   json.RawMessage `json:"input"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(content, &blocks) != nil {
		req.add(role, textOf(content)...)
		return
	}
	for _, b := range blocks {
		switch b.Type {
		case "text":
			req.add(role, b.Text)
		case "tool_use":
			req.add("call", b.Name+" "+string(b.Input))
		case "tool_result":
			req.add("result", strings.Join(textOf(b.Content), "\n"))
		}
	}
}

func messagesContent(t Turn) []object {
	content := []object{}
	if t.Thinking != "" {
		content = append(content, object{"type": "thinking", "thinking": t.Thinking, "signature": "c2NyaXB0"})
	}
	if t.Text != "" {
		content = append(content, object{"type": "text", "text": t.Text})
	}
	for _, c := range t.Calls {
		content = append(content, object{"type": "tool_use", "id": c.id, "name": c.Name, "input": c.Input})
	}
	return content
}

func messagesStop(t Turn) string {
	if len(t.Calls) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

func wholeMessages(id int, req Request, t Turn) any {
	in, out := tokens(req, t)
	return object{
		"id": fmt.Sprintf("msg_%d", id), "type": "message", "role": "assistant", "model": req.Model,
		"content": messagesContent(t), "stop_reason": messagesStop(t), "stop_sequence": nil,
		"usage": object{"input_tokens": in, "output_tokens": out},
	}
}

func streamMessages(e *events, id int, req Request, t Turn) {
	in, out := tokens(req, t)
	send := func(kind string, fields object) {
		fields["type"] = kind
		e.send(kind, fields)
	}
	send("message_start", object{"message": object{
		"id": fmt.Sprintf("msg_%d", id), "type": "message", "role": "assistant", "model": req.Model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
		"usage": object{"input_tokens": in, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
	}})
	for i, block := range messagesContent(t) {
		delta := func(d object) { send("content_block_delta", object{"index": i, "delta": d}) }
		start := func(b object) { send("content_block_start", object{"index": i, "content_block": b}) }
		switch block["type"] {
		case "thinking":
			start(object{"type": "thinking", "thinking": "", "signature": ""})
			e.deltas(t.Thinking, func(p string) { delta(object{"type": "thinking_delta", "thinking": p}) })
			delta(object{"type": "signature_delta", "signature": block["signature"]})
		case "text":
			start(object{"type": "text", "text": ""})
			e.deltas(t.Text, func(p string) { delta(object{"type": "text_delta", "text": p}) })
		case "tool_use":
			input, _ := block["input"].(json.RawMessage)
			start(object{"type": "tool_use", "id": block["id"], "name": block["name"], "input": object{}})
			delta(object{"type": "input_json_delta", "partial_json": string(input)})
		}
		send("content_block_stop", object{"index": i})
	}
	send("message_delta", object{"delta": object{"stop_reason": messagesStop(t), "stop_sequence": nil}, "usage": object{"output_tokens": out}})
	send("message_stop", object{})
}

func messagesFault(status int, message string) any {
	kinds := map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}
	kind := kinds[status]
	if kind == "" {
		kind = "api_error"
	}
	return object{"type": "error", "error": object{"type": kind, "message": message}}
}

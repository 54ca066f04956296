package fakemodel

import (
	"encoding/json"
	"fmt"
	"strings"
)

func decodeChat(_ string, body []byte) (Request, error) {
	var in struct {
		Model    string `json:"model"`
		Stream   bool   `json:"stream"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
			Calls   []struct {
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"messages"`
		Tools []struct {
			Function struct {
				Name   string          `json:"name"`
				Schema json.RawMessage `json:"parameters"`
			} `json:"function"`
		} `json:"tools"`
		Choice json.RawMessage `json:"tool_choice"`
		Format struct {
			Type   string `json:"type"`
			Schema struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"json_schema"`
		} `json:"response_format"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	req := Request{Model: in.Model, Stream: in.Stream, Choice: openAIChoice(in.Choice), Format: in.Format.Schema.Schema}
	if in.Format.Type == "json_object" {
		req.Format = json.RawMessage(`{"type":"object"}`)
	}
	for _, m := range in.Messages {
		switch m.Role {
		case "tool", "function":
			req.add("result", strings.Join(textOf(m.Content), "\n"))
		case "developer":
			req.add("system", textOf(m.Content)...)
		default:
			req.add(m.Role, textOf(m.Content)...)
		}
		for _, c := range m.Calls {
			req.add("call", c.Function.Name+" "+c.Function.Arguments)
		}
	}
	for _, t := range in.Tools {
		req.Tools = append(req.Tools, Tool{Name: t.Function.Name, Schema: t.Function.Schema})
	}
	return req, nil
}

func chatCalls(t Turn) []object {
	var calls []object
	for i, c := range t.Calls {
		calls = append(calls, object{"index": i, "id": c.id, "type": "function", "function": object{"name": c.Name, "arguments": string(c.Input)}})
	}
	return calls
}

func chatFinish(t Turn) string {
	if len(t.Calls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func chatUsage(req Request, t Turn) object {
	in, out := tokens(req, t)
	return object{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out}
}

func wholeChat(id int, req Request, t Turn) any {
	message := object{"role": "assistant", "content": t.Text}
	if t.Thinking != "" {
		message["reasoning_content"] = t.Thinking
	}
	if len(t.Calls) > 0 {
		message["tool_calls"] = chatCalls(t)
	}
	return object{
		"id": fmt.Sprintf("chatcmpl-%d", id), "object": "chat.completion", "created": 1, "model": req.Model,
		"choices": []object{{"index": 0, "message": message, "finish_reason": chatFinish(t)}}, "usage": chatUsage(req, t),
	}
}

func streamChat(e *events, id int, req Request, t Turn) {
	chunk := func(choices []object, usage any) {
		e.send("", object{"id": fmt.Sprintf("chatcmpl-%d", id), "object": "chat.completion.chunk", "created": 1, "model": req.Model, "choices": choices, "usage": usage})
	}
	delta := func(d object, finish any) {
		chunk([]object{{"index": 0, "delta": d, "finish_reason": finish}}, nil)
	}
	delta(object{"role": "assistant", "content": ""}, nil)
	e.deltas(t.Thinking, func(p string) { delta(object{"reasoning_content": p}, nil) })
	e.deltas(t.Text, func(p string) { delta(object{"content": p}, nil) })
	for _, call := range chatCalls(t) {
		delta(object{"tool_calls": []object{call}}, nil)
	}
	delta(object{}, chatFinish(t))
	chunk([]object{}, chatUsage(req, t))
	e.raw("data: [DONE]\n\n")
}

package fakemodel

import (
	"encoding/json"
	"fmt"
	"strings"
)

func decodeResponses(_ string, body []byte) (Request, error) {
	var in struct {
		Model        string          `json:"model"`
		Stream       bool            `json:"stream"`
		Instructions string          `json:"instructions"`
		Input        json.RawMessage `json:"input"`
		Tools        []responsesTool `json:"tools"`
		Choice       json.RawMessage `json:"tool_choice"`
		Text         struct {
			Format struct {
				Schema json.RawMessage `json:"schema"`
			} `json:"format"`
		} `json:"text"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	req := Request{Model: in.Model, Stream: in.Stream, Format: in.Text.Format.Schema, Choice: openAIChoice(in.Choice)}
	if in.Instructions != "" {
		req.add("system", in.Instructions)
	}
	tools := in.Tools
	var items []struct {
		Type      string          `json:"type"`
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		Name      string          `json:"name"`
		Arguments string          `json:"arguments"`
		Output    json.RawMessage `json:"output"`
		Tools     []responsesTool `json:"tools"`
	}
	if json.Unmarshal(in.Input, &items) != nil {
		req.add("user", textOf(in.Input)...)
	}
	for _, item := range items {
		switch {
		case item.Type == "function_call":
			req.add("call", item.Name+" "+item.Arguments)
		case strings.HasSuffix(item.Type, "_call_output"):
			req.add("result", strings.Join(textOf(item.Output), "\n"))
		case item.Type == "additional_tools":
			tools = append(tools, item.Tools...)
		case item.Role == "developer":
			req.add("system", textOf(item.Content)...)
		case item.Role != "":
			req.add(item.Role, textOf(item.Content)...)
		}
	}
	addResponsesTools(&req, "", tools)
	return req, nil
}

// responsesTool is a function, or a namespace of functions.
type responsesTool struct {
	Type   string          `json:"type"`
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"parameters"`
	Tools  []responsesTool `json:"tools"`
}

func addResponsesTools(req *Request, namespace string, tools []responsesTool) {
	for _, t := range tools {
		switch {
		case t.Type == "namespace" && namespace == "":
			addResponsesTools(req, t.Name, t.Tools)
		case t.Name != "":
			req.Tools = append(req.Tools, Tool{Name: t.Name, Namespace: namespace, Schema: t.Schema})
		}
	}
}

// openAIChoice reads "required", {"name": ...} and {"function": {"name": ...}}.
func openAIChoice(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text == "required" {
			return "*"
		}
		return ""
	}
	var named struct {
		Name     string `json:"name"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &named) != nil {
		return ""
	}
	return named.Name + named.Function.Name
}

// responsesOutput lists the items of an answer.
func responsesOutput(id int, t Turn) []object {
	output := []object{}
	if t.Thinking != "" {
		output = append(output, object{"type": "reasoning", "id": fmt.Sprintf("rs_%d", id), "summary": []object{{"type": "summary_text", "text": t.Thinking}}})
	}
	if t.Text != "" {
		output = append(output, object{"type": "message", "id": fmt.Sprintf("msg_%d", id), "role": "assistant", "status": "completed",
			"content": []object{{"type": "output_text", "text": t.Text, "annotations": []any{}}}})
	}
	for _, c := range t.Calls {
		item := object{"type": "function_call", "id": "fc_" + c.id, "call_id": c.id, "name": c.Name, "arguments": string(c.Input), "status": "completed"}
		if c.Namespace != "" {
			item["namespace"] = c.Namespace
		}
		output = append(output, item)
	}
	return output
}

func wholeResponses(id int, req Request, t Turn) any {
	in, out := tokens(req, t)
	return object{
		"id": fmt.Sprintf("resp_%d", id), "object": "response", "created_at": 1, "status": "completed", "model": req.Model, "output": responsesOutput(id, t),
		"usage": object{"input_tokens": in, "output_tokens": out, "total_tokens": in + out,
			"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0}},
	}
}

func streamResponses(e *events, id int, req Request, t Turn) {
	sequence := 0
	send := func(kind string, fields object) {
		fields["type"], fields["sequence_number"] = kind, sequence
		sequence++
		e.send(kind, fields)
	}
	begun := object{"id": fmt.Sprintf("resp_%d", id), "object": "response", "created_at": 1, "status": "in_progress", "model": req.Model, "output": []any{}}
	send("response.created", object{"response": begun})
	send("response.in_progress", object{"response": begun})
	for i, item := range responsesOutput(id, t) {
		at := func(fields object) object {
			fields["item_id"], fields["output_index"] = item["id"], i
			return fields
		}
		switch item["type"] {
		case "reasoning":
			send("response.output_item.added", object{"output_index": i, "item": object{"type": "reasoning", "id": item["id"], "summary": []any{}}})
			send("response.reasoning_summary_part.added", at(object{"summary_index": 0, "part": object{"type": "summary_text", "text": ""}}))
			e.deltas(t.Thinking, func(p string) {
				send("response.reasoning_summary_text.delta", at(object{"summary_index": 0, "delta": p}))
			})
			send("response.reasoning_summary_text.done", at(object{"summary_index": 0, "text": t.Thinking}))
		case "message":
			send("response.output_item.added", object{"output_index": i, "item": object{"type": "message", "id": item["id"], "role": "assistant", "status": "in_progress", "content": []any{}}})
			part := object{"type": "output_text", "text": "", "annotations": []any{}}
			send("response.content_part.added", at(object{"content_index": 0, "part": part}))
			e.deltas(t.Text, func(p string) {
				send("response.output_text.delta", at(object{"content_index": 0, "delta": p}))
			})
			send("response.output_text.done", at(object{"content_index": 0, "text": t.Text}))
			send("response.content_part.done", at(object{"content_index": 0, "part": object{"type": "output_text", "text": t.Text, "annotations": []any{}}}))
		case "function_call":
			added := object{}
			for k, v := range item {
				added[k] = v
			}
			added["arguments"], added["status"] = "", "in_progress"
			send("response.output_item.added", object{"output_index": i, "item": added})
			send("response.function_call_arguments.delta", at(object{"delta": item["arguments"]}))
			send("response.function_call_arguments.done", at(object{"arguments": item["arguments"]}))
		}
		send("response.output_item.done", object{"output_index": i, "item": item})
	}
	send("response.completed", object{"response": wholeResponses(id, req, t)})
}

func openAIFault(status int, message string) any {
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	return object{"error": object{"message": message, "type": kind, "code": status, "param": nil}}
}

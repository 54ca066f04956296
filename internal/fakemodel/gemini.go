package fakemodel

import (
	"encoding/json"
	"fmt"
	"strings"
)

type geminiContent struct {
	Role  string `json:"role"`
	Parts []struct {
		Text    string `json:"text"`
		Thought bool   `json:"thought"`
		Call    *struct {
			Name string          `json:"name"`
			Args json.RawMessage `json:"args"`
		} `json:"functionCall"`
		Response *struct {
			Response json.RawMessage `json:"response"`
		} `json:"functionResponse"`
	} `json:"parts"`
}

func decodeGemini(path string, body []byte) (Request, error) {
	var in struct {
		System   geminiContent   `json:"systemInstruction"`
		Contents []geminiContent `json:"contents"`
		Tools    []struct {
			Functions []struct {
				Name   string          `json:"name"`
				JSON   json.RawMessage `json:"parametersJsonSchema"`
				Schema json.RawMessage `json:"parameters"`
			} `json:"functionDeclarations"`
		} `json:"tools"`
		Config struct {
			MimeType string          `json:"responseMimeType"`
			JSON     json.RawMessage `json:"responseJsonSchema"`
			Schema   json.RawMessage `json:"responseSchema"`
		} `json:"generationConfig"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	_, model, _ := strings.Cut(path, "/models/")
	model, method, _ := strings.Cut(model, ":")
	req := Request{Model: model, Stream: method == "streamGenerateContent"}
	if in.Config.MimeType == "application/json" {
		req.Format = firstOf(in.Config.JSON, in.Config.Schema, json.RawMessage(`{"type":"object"}`))
	}
	in.System.Role = "system"
	for _, c := range append([]geminiContent{in.System}, in.Contents...) {
		addParts(&req, c)
	}
	for _, t := range in.Tools {
		for _, f := range t.Functions {
			req.Tools = append(req.Tools, Tool{Name: f.Name, Schema: firstOf(f.JSON, f.Schema)})
		}
	}
	return req, nil
}

func addParts(req *Request, c geminiContent) {
	role := c.Role
	switch role {
	case "model":
		role = "assistant"
	case "":
		role = "user"
	}
	for _, p := range c.Parts {
		switch {
		case p.Call != nil:
			req.add("call", p.Call.Name+" "+string(p.Call.Args))
		case p.Response != nil:
			req.add("result", string(p.Response.Response))
		case p.Text != "" && !p.Thought:
			req.add(role, p.Text)
		}
	}
}

func firstOf(raws ...json.RawMessage) json.RawMessage {
	for _, raw := range raws {
		if len(raw) > 0 {
			return raw
		}
	}
	return nil
}

func geminiReply(req Request, t Turn, parts []object, last bool) object {
	candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
	reply := object{"candidates": []object{candidate}, "modelVersion": req.Model}
	if last {
		in, out := tokens(req, t)
		candidate["finishReason"] = "STOP"
		reply["usageMetadata"] = object{"promptTokenCount": in, "candidatesTokenCount": out, "totalTokenCount": in + out}
	}
	return reply
}

func geminiCalls(t Turn) []object {
	parts := []object{}
	for _, c := range t.Calls {
		parts = append(parts, object{"functionCall": object{"id": c.id, "name": c.Name, "args": c.Input}})
	}
	return parts
}

func wholeGemini(_ int, req Request, t Turn) any {
	parts := []object{}
	if t.Thinking != "" {
		parts = append(parts, object{"text": t.Thinking, "thought": true})
	}
	if t.Text != "" {
		parts = append(parts, object{"text": t.Text})
	}
	return geminiReply(req, t, append(parts, geminiCalls(t)...), true)
}

func streamGemini(e *events, _ int, req Request, t Turn) {
	e.deltas(t.Thinking, func(p string) {
		e.send("", geminiReply(req, t, []object{{"text": p, "thought": true}}, false))
	})
	e.deltas(t.Text, func(p string) {
		e.send("", geminiReply(req, t, []object{{"text": p}}, false))
	})
	parts := geminiCalls(t)
	if len(parts) == 0 {
		parts = append(parts, object{"text": ""})
	}
	e.send("", geminiReply(req, t, parts, true))
}

func geminiFault(status int, message string) any {
	names := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
	name := names[status]
	if name == "" {
		name = "INTERNAL"
	}
	return object{"error": object{"code": status, "message": message, "status": name}}
}

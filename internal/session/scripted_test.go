package session_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// scripted is an agent that writes the lines of a prompt to its output, with the
// id of the session for SESSION. Before it answers the prompt it waits for the
// answers to the requests among them, and says each of them. A prompt WHEN CANCELLED
// is answered with the members that follow when it is cancelled, a prompt FAIL at once
// with the error that follows.
func scripted(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	n, waits := 0, 0
	var prompt acp.Message
	cancelled := "" // how to answer a prompt that is cancelled
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		m, err := acp.Parse(line)
		if err != nil {
			return err
		}
		switch m.Method {
		case acp.MethodInitialize:
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":1,"agentCapabilities":{},"authMethods":[]}}`+"\n", m.ID)
		case acp.MethodSessionNew:
			n++
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"sessionId":"scripted-%d","configOptions":%s}}`+"\n", m.ID, n, webOption("false"))
		case acp.MethodSetConfigOption:
			var request struct {
				Params struct {
					ConfigID, Type string
					Value          json.RawMessage
				}
			}
			if err := json.Unmarshal(line, &request); err != nil {
				return err
			}
			if p := request.Params; p.ConfigID != "web" || p.Type != acp.OptionBoolean || string(p.Value) != "true" && string(p.Value) != "false" {
				fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"not a boolean"}}`+"\n", m.ID)
			} else {
				fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"configOptions":%s}}`+"\n", m.ID, webOption(string(p.Value)))
			}
		case acp.MethodSessionPrompt:
			var request struct{ Params acp.PromptRequest }
			if err := json.Unmarshal(line, &request); err != nil {
				return err
			}
			prompt = m
			if answer, ok := strings.CutPrefix(request.Params.Prompt.Text(), "WHEN CANCELLED "); ok {
				cancelled, waits = answer, 1
				continue
			}
			if fault, ok := strings.CutPrefix(request.Params.Prompt.Text(), "FAIL "); ok {
				fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"error":%s}`+"\n", prompt.ID, fault)
				prompt.ID = nil
				continue
			}
			for _, text := range strings.Split(request.Params.Prompt.Text(), "\n") {
				text = strings.ReplaceAll(text, "SESSION", m.SessionID)
				if said, err := acp.Parse([]byte(text)); err == nil && said.Kind == acp.Request {
					waits++
				}
				fmt.Fprintln(out, text)
			}
		case "": // an answer
			waits--
			told, err := json.Marshal(strings.TrimSpace(string(line)))
			if err != nil {
				return err
			}
			fmt.Fprintf(out, `{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":%q,"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":%s}}}}`+"\n", prompt.SessionID, told)
		case acp.MethodSessionCancel:
			if waits = 0; cancelled != "" && prompt.ID != nil {
				fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,%s}`+"\n", prompt.ID, cancelled)
				prompt.ID, cancelled = nil, ""
			}
		}
		if prompt.ID != nil && waits <= 0 {
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{"stopReason":"end_turn"}}`+"\n", prompt.ID)
			prompt.ID, waits = nil, 0
		}
	}
}

// webOption is the boolean option of the scripted agent.
func webOption(value string) string {
	return `[{"id":"web","name":"Web","type":"boolean","currentValue":` + value + `}]`
}

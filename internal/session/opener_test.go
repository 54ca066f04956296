package session_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// opener is an agent with the capabilities to load and to resume sessions that are
// named. A method that is named fails. It tells the history "told before" of a session
// before it replies to session/load, after that with "late", and what opened its
// sessions, then every block of the prompt, in reply to a prompt.
func opener(in io.Reader, out io.Writer, named []string) error {
	has := func(what string) bool { return slices.Contains(named, what) }
	ways := []string{}
	conn := acp.NewConn(in, out, acp.ConnOptions{})
	say := func(sid, kind, text string) {
		_ = conn.Notify(acp.MethodSessionUpdate, acp.SessionNotification{SessionID: sid, Update: acp.Update{Kind: kind, Content: acp.TextBlock(text)}})
	}
	conn = acp.NewConn(in, out, acp.ConnOptions{Handle: func(_ context.Context, m *acp.Incoming) {
		if slices.Contains([]string{acp.MethodSessionNew, acp.MethodSessionLoad, acp.MethodSessionResume}, m.Method) {
			ways = append(ways, strings.TrimPrefix(m.Method, "session/"))
		}
		switch {
		case has(m.Method):
			if m.Method == acp.MethodSessionLoad {
				say(m.SessionID, acp.UpdateAgentMessage, "told before")
			}
			_ = m.Fail(acp.Errorf(acp.CodeInternalError, "it fails"))
		case m.Method == acp.MethodInitialize:
			result := acp.InitializeResult{ProtocolVersion: 1, AuthMethods: []acp.AuthMethod{}}
			result.AgentCapabilities.LoadSession = has("load")
			if has("resume") {
				result.AgentCapabilities.SessionCapabilities.Resume = acp.Present
			}
			_ = m.Reply(result)
		case m.Method == acp.MethodSessionNew:
			_ = m.Reply(acp.SessionResult{SessionID: fmt.Sprintf("new-%d", len(ways))})
		case m.Method == acp.MethodSessionResume:
			_ = m.Reply(acp.SessionResult{})
		case m.Method == acp.MethodSessionLoad:
			if has("late") {
				_ = m.Reply(acp.SessionResult{})
			}
			say(m.SessionID, acp.UpdateUserMessage, "told before")
			say(m.SessionID, acp.UpdateAgentMessage, "told before")
			say(m.SessionID, acp.UpdateCommands, "")
			if !has("late") {
				_ = m.Reply(acp.SessionResult{})
			}
		case m.Method == acp.MethodSessionPrompt:
			var p acp.PromptRequest
			_ = m.Decode(&p)
			say(p.SessionID, acp.UpdateAgentMessage, strings.Join(ways, " "))
			for _, b := range p.Prompt {
				say(p.SessionID, acp.UpdateAgentMessage, "|"+b.Text)
			}
			_ = m.Reply(acp.PromptResult{StopReason: acp.StopEndTurn})
		default:
			_ = m.Fail(acp.Errorf(acp.CodeMethodNotFound, "Method not found: %s", m.Method))
		}
	}})
	return conn.Run(context.Background())
}

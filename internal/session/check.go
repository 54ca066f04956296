package session

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/permission"
)

// maxChecked is how many tool calls of a session are checked, the newest ones.
const maxChecked = 1000

// CheckPermissions says what a policy says to a tool call, or to those of a
// session. It changes nothing.
func (m *Manager) CheckPermissions(ctx context.Context, req api.PermissionCheckRequest) (*api.PermissionCheck, error) {
	given := len(req.ToolCall) > 0 || req.Command != ""
	switch {
	case len(req.ToolCall) > 0 && req.Command != "":
		return nil, api.InvalidRequest(api.CodeInvalidRequest, "check permissions: toolCall and command are two calls; give one of them")
	case req.Session == "" && !given:
		return nil, api.InvalidRequest(api.CodeInvalidRequest, "check permissions: there is no call; give a toolCall, a command or a session")
	case req.Session == "" && req.Policy == nil:
		return nil, api.InvalidRequest(api.CodeInvalidRequest, "check permissions: there is no policy; give one, or a session that has one")
	}
	var policy *api.PermissionPolicy
	var err error
	if req.Policy != nil {
		if policy, err = permission.Check(req.Policy); err != nil {
			return nil, err
		}
	}
	judge := permission.Judge{Policy: policy, Dir: m.cfg.CWD}
	var s *session
	if req.Session != "" {
		if s, err = m.find(req.Session); err != nil {
			return nil, err
		}
		judge = s.judgeUnder(policy)
	}
	if req.CWD != "" {
		if judge.Dir = req.CWD; !filepath.IsAbs(req.CWD) {
			judge.Dir = filepath.Join(m.cfg.CWD, req.CWD)
		}
	}
	if !given {
		return s.checkCalls(ctx, judge)
	}
	call, err := permission.Call(req.ToolCall, req.Command)
	if err != nil {
		return nil, err
	}
	if s != nil {
		call = m.cfg.Agents.Normalize(s.rec.Agent, judge.Dir, call)
	}
	return &api.PermissionCheck{Calls: []api.PermissionCheckCall{checked(judge, call)}}, nil
}

// judgeUnder is the judge of a session as it is, or as it would be with another
// policy.
func (s *session) judgeUnder(policy *api.PermissionPolicy) permission.Judge {
	s.mu.Lock()
	defer s.mu.Unlock()
	judge := s.judge()
	if policy == nil {
		return judge
	}
	var old api.PermissionDefault
	if judge.Policy != nil {
		old = judge.Policy.Default
	}
	judge.Remembered, _ = permission.Forget(judge.Remembered, old, policy.Default)
	judge.Policy = policy
	return judge
}

func checked(judge permission.Judge, call acp.ToolCall) api.PermissionCheckCall {
	return api.PermissionCheckCall{PermissionVerdict: judge.Verdict(call), ToolCallID: call.ID, Title: call.Title, Kind: call.Kind}
}

// pastCall is a tool call that the events of a session tell of.
type pastCall struct {
	call     acp.ToolCall // as it was when the agent asked, else as it is at the end
	event    uint64
	asked    bool
	resolved *api.PermissionResolved
}

// past collects the tool calls of a session from its events.
type past struct {
	s       *session
	list    []*pastCall
	omitted int
	open    map[string]*pastCall // of the turn, by id of the call
	asks    map[string]*pastCall // by id of the permission request
}

// checkCalls judges the tool calls of a session: each as it was when the agent
// asked, or else as all updates together tell of it.
func (s *session) checkCalls(ctx context.Context, judge permission.Judge) (*api.PermissionCheck, error) {
	_, last, err := s.m.cfg.Journal.Bounds(s.stream())
	if err != nil {
		return nil, err
	}
	p := past{s: s, open: make(map[string]*pastCall), asks: make(map[string]*pastCall)}
	reader := s.m.cfg.Journal.Reader(s.stream(), 0)
	for reader.Cursor() < last {
		batch, err := reader.Next(ctx)
		if err != nil {
			return nil, s.unread(err)
		}
		for _, e := range batch.Entries {
			p.take(e)
		}
	}
	out := &api.PermissionCheck{Calls: make([]api.PermissionCheckCall, 0, len(p.list)), Omitted: p.omitted}
	for _, c := range p.list {
		call := checked(judge, s.m.cfg.Agents.Normalize(s.rec.Agent, judge.Dir, c.call))
		call.Event, call.Asked, call.Resolved = c.event, c.asked, c.resolved
		out.Calls = append(out.Calls, call)
	}
	return out, nil
}

// callMarks are parts of the frames that tell of tool calls; the others are passed
// over without decoding.
var callMarks = [][]byte{[]byte(`tool_call`), []byte(acp.MethodRequestPermission), []byte(acp.MethodSessionPrompt), []byte(api.EventPermissionResolved)}

func (p *past) take(e journal.Entry) {
	if !slices.ContainsFunc(callMarks, func(mark []byte) bool { return bytes.Contains(e.Frame, mark) }) {
		return
	}
	msg, err := acp.Parse(e.Frame)
	if err != nil {
		return
	}
	agent := e.Dir == journal.FromAgent
	switch {
	case !agent && msg.Method == acp.MethodSessionPrompt:
		clear(p.open)
	case agent && msg.Method == acp.MethodSessionUpdate:
		var n acp.SessionNotification
		if decodeMember(e.Frame, "params", &n) && (n.Update.Kind == acp.UpdateToolCall || n.Update.Kind == acp.UpdateToolCallDelta) {
			p.tell(n.Update.ToolCall, e.Seq)
		}
	case agent && msg.Method == acp.MethodRequestPermission:
		if req, why := acp.ReadPermissionRequest(e.Frame); why == nil {
			c := p.tell(req.ToolCall, e.Seq)
			if c.asked { // again: each request is judged
				c = &pastCall{call: mergeCall(c.call, req.ToolCall)}
				p.add(c)
			}
			c.asked, c.event = true, e.Seq
			p.asks[p.s.permissionID(e.Seq)] = c
		}
	case agent && msg.Method == api.EventPermissionResolved:
		res := new(api.PermissionResolved)
		if decodeMember(e.Frame, "params", res) && p.asks[res.PermissionID] != nil {
			p.asks[res.PermissionID].resolved = res
		}
	}
}

// tell takes what is said of a call. What is said once the agent has asked does not
// change what it asked for.
func (p *past) tell(said acp.ToolCall, event uint64) *pastCall {
	c := p.open[said.ID]
	if c == nil {
		c = &pastCall{event: event}
		p.open[said.ID] = c
		p.add(c)
	}
	if !c.asked {
		c.call = mergeCall(c.call, said)
	}
	return c
}

func (p *past) add(c *pastCall) {
	if p.list = append(p.list, c); len(p.list) > maxChecked {
		p.list, p.omitted = slices.Delete(p.list, 0, 1), p.omitted+1
	}
}

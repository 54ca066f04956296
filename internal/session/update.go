package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// maxCalls bounds the tool calls of a turn that are remembered for permissions.
const maxCalls = 256

// updateKey comes before the kind of an update in the frames of nearly all
// agents, which write no blanks.
var updateKey = []byte(`"sessionUpdate":"`)

// updateKind returns the kind of an update by a look at the frame that is cheaper
// than decoding it, or nothing if the frame has to be decoded to know. It runs
// for every frame of every agent.
func updateKind(frame []byte) string {
	i := bytes.Index(frame, updateKey)
	if i < 0 {
		return ""
	}
	rest := frame[i+len(updateKey):]
	switch j := bytes.IndexByte(rest, '"'); {
	case j < 0:
		return ""
	default:
		return string(rest[:j])
	}
}

// updated takes an update of the agent into the record and the turn.
// It is the event seq.
func (s *session) updated(frame []byte, seq uint64) {
	switch kind := updateKind(frame); kind {
	case acp.UpdateCommands, acp.UpdateUserMessage:
		return // changes nothing here
	case acp.UpdateAgentThought, acp.UpdatePlan:
		s.interrupted(kind)
		return
	case acp.UpdateAgentMessage:
		s.said(frame)
		return
	}
	var n struct {
		Params struct {
			Update acp.Update `json:"update"`
		} `json:"params"`
	}
	if json.Unmarshal(frame, &n) != nil {
		return
	}
	u := &n.Params.Update
	s.mu.Lock()
	saved := s.apply(u)
	s.rec.applied(seq)
	s.mu.Unlock()
	if saved {
		s.changed()
	}
}

// said adds to the text of a turn, if a client waits for it.
func (s *session) said(frame []byte) {
	s.mu.Lock()
	wanted := s.turn != nil && !s.turn.cut
	s.mu.Unlock()
	if !wanted {
		return
	}
	var n struct {
		Params struct {
			Update struct {
				MessageID string `json:"messageId"`
				Content   struct {
					Type string `json:"type"`
					Text string `json:"text"`
				} `json:"content"`
			} `json:"update"`
		} `json:"params"`
	}
	if json.Unmarshal(frame, &n) != nil || n.Params.Update.Content.Type != acp.ContentText {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		s.turn.say(n.Params.Update.Content.Text, n.Params.Update.MessageID, s.m.cfg.Limits.TextBytes)
	}
}

// interrupted notes that the agent does something else than to speak.
func (s *session) interrupted(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn != nil {
		s.turn.after.Begins(kind, "")
	}
}

// apply changes what an update changes and reports whether the record is to be
// saved for it. The caller holds mu.
func (s *session) apply(u *acp.Update) bool {
	r := &s.rec
	switch u.Kind {
	case acp.UpdateAgentMessage:
		if s.turn != nil && u.Content.Type == acp.ContentText {
			s.turn.say(u.Content.Text, u.MessageID, s.m.cfg.Limits.TextBytes)
		}
	case acp.UpdateAgentThought, acp.UpdatePlan:
		if s.turn != nil {
			s.turn.after.Begins(u.Kind, "")
		}
	case acp.UpdateToolCall, acp.UpdateToolCallDelta:
		if s.turn != nil {
			s.turn.after.Begins(u.Kind, "")
		}
		s.remember(u.ToolCall)
	case acp.UpdateUsage:
		r.Usage.ContextUsed, r.Usage.ContextSize = u.Usage.Used, u.Usage.Size
		if u.Usage.Cost != nil {
			r.spend(*u.Usage.Cost)
		}
	case acp.UpdateSessionInfo:
		return r.called(u.Info.Title)
	case acp.UpdateConfigOption:
		s.setOptions(u.ConfigOptions)
		return true
	case acp.UpdateCurrentMode:
		s.setMode(u.ModeID)
		return true
	}
	return false
}

// called takes the agent's title of the session. The one of a session that is
// told of an earlier one at its beginning does not count: it knows the rest only.
func (r *record) called(title string) bool {
	if title == "" || r.AgentTitle != "" && r.TitledBy != r.AgentSessionID {
		return false
	}
	r.AgentTitle, r.TitledBy = title, r.AgentSessionID
	return true
}

// spend takes what an agent says it has spent on the session. Some agents count
// from zero in each process, others go on.
func (r *record) spend(c acp.Cost) {
	switch before := r.Usage.Cost; {
	case before == nil:
	case before.Currency != c.Currency:
		r.SpentBefore = 0
	case r.SpentBefore+c.Amount < before.Amount:
		r.SpentBefore = before.Amount
	}
	r.Usage.Cost = &acp.Cost{Amount: r.SpentBefore + c.Amount, Currency: c.Currency}
}

// remember keeps what is known of a tool call, of its contents only which files
// they are of, for the permission that may be asked for it.
func (s *session) remember(c acp.ToolCall) {
	old, found := s.calls[c.ID]
	if !found && len(s.calls) >= maxCalls {
		clear(s.calls)
	}
	s.calls[c.ID] = mergeCall(old, c)
}

// mergeCall returns a tool call with what an update says of it. The files that were
// shown stay, though an update replaces contents as a whole: who only shows them
// before it asks has named them too.
func mergeCall(call, update acp.ToolCall) acp.ToolCall {
	files := call.Content
	for _, c := range update.Content {
		if known := slices.ContainsFunc(files, func(f acp.ToolContent) bool { return f.Path == c.Path }); c.Path != "" && !known && len(files) < maxCalls {
			files = append(slices.Clip(files), acp.ToolContent{Type: c.Type, Path: c.Path})
		}
	}
	update.Content, update.RawOutput = nil, nil
	call.Merge(update)
	call.Content = files
	return call
}

func (s *session) setOptions(options []acp.ConfigOption) {
	r := &s.rec
	r.Options = options
	if o := acp.OptionOfCategory(options, acp.CategoryMode); o != nil && r.Modes != nil && knownMode(r.Modes, o.CurrentValue) {
		modes := *r.Modes
		modes.CurrentModeID = o.CurrentValue
		r.Modes = &modes
	}
}

func knownMode(modes *acp.SessionModes, id string) bool {
	for _, m := range modes.AvailableModes {
		if m.ID == id {
			return true
		}
	}
	return false
}

func (s *session) setMode(id string) {
	r := &s.rec
	if id == "" {
		return
	}
	modes := acp.SessionModes{}
	if r.Modes != nil {
		modes = *r.Modes
	}
	modes.CurrentModeID = id
	if r.Modes != nil {
		r.Modes = &modes
	}
	s.setOption(func(o *acp.ConfigOption) bool { return o.Category == acp.CategoryMode && o.Allows(id) }, id)
}

// setOption patches the first option that match accepts.
func (s *session) setOption(match func(*acp.ConfigOption) bool, value string) {
	options := append([]acp.ConfigOption(nil), s.rec.Options...)
	for i := range options {
		if match(&options[i]) {
			options[i].CurrentValue = value
			s.rec.Options = options
			return
		}
	}
}

// described takes what an agent says of a session that it has opened.
// The answer is the event seq.
func (s *session) described(result acp.SessionResult, seq uint64) {
	var options []acp.ConfigOption
	if result.ConfigOptions == nil {
		options = s.m.cfg.Agents.Options(s.rec.Agent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.describes(result, options)
	s.rec.applied(seq)
}

// describes takes what an agent says of a session that it has opened, or for an agent
// without options those that are known of it. The caller holds mu.
func (s *session) describes(result acp.SessionResult, options []acp.ConfigOption) {
	r := &s.rec
	switch {
	case result.ConfigOptions != nil:
		r.Options = result.ConfigOptions
	case r.Options == nil:
		// Modes are only what the agent itself offers.
		r.Options = slices.DeleteFunc(options, func(o acp.ConfigOption) bool { return o.Category == acp.CategoryMode })
	}
	if result.Modes != nil {
		r.Modes = result.Modes
	}
	if result.Models != nil {
		r.Models = result.Models
	}
}

// replied takes the answer to a request of a client.
func (s *session) replied(c *call, key string, e bridge.Event, seq uint64) {
	if c.method == acp.MethodSessionPrompt {
		s.promptAnswered(key, e, seq)
		return
	}
	if !sets(c.method) {
		return
	}
	s.mu.Lock()
	s.asking = max(s.asking-1, 0)
	if !e.Msg.IsError {
		s.set(c.method, c.frame, e.Frame)
		s.rec.applied(seq)
	}
	s.mu.Unlock()
	s.changed()
}

// sets reports whether a method of clients changes a setting of the agent.
func sets(method string) bool {
	return method == acp.MethodSetMode || method == acp.MethodSetModel || method == acp.MethodSetConfigOption
}

// set takes a request for a setting that the agent has granted. The caller holds mu.
func (s *session) set(method string, request, reply []byte) {
	var p struct {
		ModeID   string          `json:"modeId"`
		Mode     string          `json:"mode"`
		ModelID  string          `json:"modelId"`
		ConfigID string          `json:"configId"`
		Value    json.RawMessage `json:"value"`
	}
	if !decodeMember(request, "params", &p) {
		return
	}
	switch method {
	case acp.MethodSetMode:
		id := cmp.Or(p.ModeID, p.Mode)
		s.setMode(id)
		s.choose(chosenMode, id)
	case acp.MethodSetModel:
		if s.rec.Models != nil {
			models := *s.rec.Models
			models.CurrentModelID = p.ModelID
			s.rec.Models = &models
		}
		s.choose(chosenModel, p.ModelID)
	case acp.MethodSetConfigOption:
		s.setConfigOption(p.ConfigID, p.Value, reply)
	}
}

// setConfigOption takes the answer to session/set_config_option: all options, or
// nothing but that it is done. The caller holds mu.
func (s *session) setConfigOption(id string, raw json.RawMessage, frame []byte) {
	value := ""
	if json.Unmarshal(raw, &value) != nil {
		value = string(raw)
	}
	var result acp.SetConfigOptionResult
	decodeMember(frame, "result", &result)
	if result.ConfigOptions != nil {
		s.setOptions(result.ConfigOptions)
	} else {
		s.setOption(func(o *acp.ConfigOption) bool { return o.ID == id }, value)
	}
	// Two ways to choose the same thing must not both be remembered.
	key := chosenOption + id
	if o := acp.OptionByID(s.rec.Options, id); o != nil && o == acp.OptionOfCategory(s.rec.Options, o.Category) {
		switch o.Category {
		case acp.CategoryMode:
			key = chosenMode
		case acp.CategoryModel:
			key = chosenModel
		}
	}
	s.choose(key, value)
}

// The keys of record.Chosen.
const (
	chosenMode   = "mode"
	chosenModel  = "model"
	chosenOption = "option/" // and the id
)

// choose notes a setting that the next agent of the session gets too.
func (s *session) choose(key, value string) {
	if value == "" {
		return
	}
	if s.rec.Chosen == nil {
		s.rec.Chosen = make(map[string]string)
	}
	s.rec.Chosen[key] = value
}

package session

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// SetModel chooses a model: by the agent's option of that category, else by
// session/set_model of agents that still have it.
func (m *Manager) SetModel(ctx context.Context, id, model string) (*api.Session, error) {
	return m.change(ctx, id, func(s *session, l *link) error { return s.setModel(ctx, l, strings.TrimSpace(model)) })
}

// SetMode chooses a mode: by session/set_mode, else by the agent's option of
// that category.
func (m *Manager) SetMode(ctx context.Context, id, mode string) (*api.Session, error) {
	return m.change(ctx, id, func(s *session, l *link) error { return s.useMode(ctx, l, strings.TrimSpace(mode)) })
}

// SetThoughtLevel chooses how hard the agent thinks.
func (m *Manager) SetThoughtLevel(ctx context.Context, id, level string) (*api.Session, error) {
	return m.change(ctx, id, func(s *session, l *link) error {
		return s.setCategory(ctx, l, acp.CategoryThoughtLevel, strings.TrimSpace(level))
	})
}

// SetConfigOption sets one option of the agent.
func (m *Manager) SetConfigOption(ctx context.Context, id, option, value string) (*api.Session, error) {
	option, value = strings.TrimSpace(option), strings.TrimSpace(value)
	if option == "" || value == "" {
		return nil, api.InvalidRequest("", "configId and value must not be empty")
	}
	return m.change(ctx, id, func(s *session, l *link) error {
		o := acp.OptionByID(s.options(), option)
		if o == nil {
			ids := []string{}
			for _, o := range s.options() {
				ids = append(ids, o.ID)
			}
			e := api.InvalidRequest(api.CodeUnsupportedConfigOption, "session %s has no option %q; it has: %s", s.id, option, join(ids))
			e.SessionID = s.id
			return e.With("configId", option).With("availableConfigIds", ids)
		}
		return s.setOptionValue(ctx, l, *o, value)
	})
}

// change does something to a session that has its agent, which is restored
// first if need be, and once more if it dies meanwhile.
func (m *Manager) change(ctx context.Context, id string, f func(*session, *link) error) (*api.Session, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	l, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if err = f(s, l); agentGone(err) {
		if err = s.leave(ctx, l); err == nil {
			l, err = s.ready(ctx)
		}
		if err == nil {
			err = f(s, l)
		}
	}
	s.unlock()
	if err != nil {
		return nil, err
	}
	if err := m.save(ctx, s); err != nil {
		m.log.Warn("session is not on disk", "session", s.id, "error", err)
	}
	out := s.describe()
	return &out, nil
}

func (s *session) options() []acp.ConfigOption {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Options
}

func (s *session) setModel(ctx context.Context, l *link, model string) error {
	s.mu.Lock()
	models, sid := s.rec.Models, s.rec.AgentSessionID
	s.mu.Unlock()
	if acp.OptionOfCategory(s.options(), acp.CategoryModel) != nil || models == nil {
		return s.setCategory(ctx, l, acp.CategoryModel, model)
	}
	var ids []string
	for _, m := range models.AvailableModels {
		ids = append(ids, m.ModelID)
	}
	if len(ids) > 0 && !slices.Contains(ids, model) {
		return s.unsupportedValue(acp.CategoryModel, acp.CategoryModel, model, ids)
	}
	return s.call(ctx, l, nil, acp.MethodSetModel, acp.SetModelRequest{SessionID: sid, ModelID: model}, nil)
}

func (s *session) useMode(ctx context.Context, l *link, mode string) error {
	s.mu.Lock()
	modes, sid := s.rec.modes(), s.rec.AgentSessionID
	s.mu.Unlock()
	if modes != nil && len(modes.AvailableModes) > 0 && !knownMode(modes, mode) {
		var ids []string
		for _, m := range modes.AvailableModes {
			ids = append(ids, m.ID)
		}
		return s.unsupportedValue(acp.CategoryMode, acp.CategoryMode, mode, ids)
	}
	if modes == nil {
		return s.setCategory(ctx, l, acp.CategoryMode, mode)
	}
	err := s.call(ctx, l, nil, acp.MethodSetMode, acp.SetModeRequest{SessionID: sid, ModeID: mode}, nil)
	if rpcCode(err) == acp.CodeMethodNotFound {
		return s.setCategory(ctx, l, acp.CategoryMode, mode)
	}
	return err
}

// setCategory sets the first option of a category.
func (s *session) setCategory(ctx context.Context, l *link, category, value string) error {
	options := s.options()
	if o := acp.OptionOfCategory(options, category); o != nil {
		return s.setOptionValue(ctx, l, *o, value)
	}
	categories := []string{}
	for _, o := range options {
		if o.Category != "" && !slices.Contains(categories, o.Category) {
			categories = append(categories, o.Category)
		}
	}
	slices.Sort(categories)
	e := api.InvalidRequest(api.CodeUnsupportedCategory, "session %s has no option of category %q; it has: %s", s.id, category, join(categories))
	e.SessionID = s.id
	return e.With("category", category).With("availableCategories", categories)
}

func (s *session) setOptionValue(ctx context.Context, l *link, o acp.ConfigOption, value string) error {
	if value == "" || !o.Allows(value) {
		var allowed []string
		for _, v := range o.Values() {
			allowed = append(allowed, v.Value)
		}
		category := o.Category
		if category == "" {
			category = "uncategorized"
		}
		return s.unsupportedValue(category, o.ID, value, allowed)
	}
	s.mu.Lock()
	sid := s.rec.AgentSessionID
	s.mu.Unlock()
	var v any = value
	kind := "" // which is an id
	if o.Type == acp.OptionBoolean {
		v, kind = value == "true", acp.OptionBoolean
	}
	return s.call(ctx, l, nil, acp.MethodSetConfigOption, struct {
		SessionID string `json:"sessionId"`
		ConfigID  string `json:"configId"`
		Type      string `json:"type,omitempty"`
		Value     any    `json:"value"`
	}{sid, o.ID, kind, v}, nil)
}

func (s *session) unsupportedValue(category, option, value string, allowed []string) error {
	if allowed == nil {
		allowed = []string{}
	}
	e := api.InvalidRequest(api.CodeUnsupportedValue, "session %s does not support %q for %s; allowed: %s", s.id, value, category, join(allowed))
	e.SessionID = s.id
	return e.With("category", category).With("configId", option).With("requestedValue", value).With("allowedValues", allowed)
}

func join(list []string) string {
	if len(list) == 0 {
		return "(none)"
	}
	return strings.Join(list, ", ")
}

// setAgain makes one remembered setting on a new agent, unless it is made.
func (s *session) setAgain(ctx context.Context, l *link, key, value string) error {
	option, isOption := strings.CutPrefix(key, chosenOption)
	s.mu.Lock()
	model := s.rec.model()
	s.mu.Unlock()
	switch {
	case isOption:
		o := acp.OptionByID(s.options(), option)
		if o == nil {
			return errors.New("the agent has no such option any more")
		}
		if o.CurrentValue == value {
			return nil
		}
		return s.setOptionValue(ctx, l, *o, value)
	case key == chosenModel && model != value:
		return s.setModel(ctx, l, value)
	}
	return nil
}

// ConfigOptions returns the options of a session.
func (m *Manager) ConfigOptions(id string) (*api.SessionConfigOptions, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return &api.SessionConfigOptions{ConfigOptions: append([]acp.ConfigOption{}, s.options()...)}, nil
}

// Modes returns the modes of a session.
func (m *Manager) Modes(id string) (*api.SessionModeList, error) {
	s, err := m.find(id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &api.SessionModeList{Modes: []acp.Mode{}}
	if modes := s.rec.modes(); modes != nil {
		out.Modes, out.CurrentModeID = append(out.Modes, modes.AvailableModes...), modes.CurrentModeID
	}
	return out, nil
}

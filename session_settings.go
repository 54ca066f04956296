package sandboxagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/acp"
)

// uncategorized stands for the category of a setting that has none.
const uncategorized = "uncategorized"

// SetModel chooses the model. An agent without a choice of models is an
// [*UnsupportedCategoryError], a model it does not know an
// [*UnsupportedValueError].
func (s *Session) SetModel(ctx context.Context, model string) error {
	s.mu.Lock()
	models, id := s.models, s.id
	option := acp.OptionOfCategory(s.options, acp.CategoryModel)
	s.mu.Unlock()
	if option != nil || models == nil {
		return s.setCategory(ctx, acp.CategoryModel, model)
	}
	var known []string
	for _, m := range models.AvailableModels {
		known = append(known, m.ModelID)
	}
	if len(known) > 0 && !slices.Contains(known, model) {
		return &UnsupportedValueError{SessionID: id, Category: acp.CategoryModel, ConfigID: "model", Value: model, Allowed: known}
	}
	err := s.send(ctx, acp.MethodSetModel, func(id string) any { return acp.SetModelRequest{SessionID: id, ModelID: model} }, nil)
	if err != nil {
		return fmt.Errorf("set model: %w", err)
	}
	s.choose(acp.CategoryModel, model)
	return nil
}

// SetThoughtLevel chooses how much the agent thinks. Its errors are those of
// [Session.SetModel].
func (s *Session) SetThoughtLevel(ctx context.Context, level string) error {
	return s.setCategory(ctx, acp.CategoryThoughtLevel, level)
}

// SetMode chooses the way of working. Its errors are those of
// [Session.SetModel].
func (s *Session) SetMode(ctx context.Context, mode string) error {
	s.mu.Lock()
	modes, id := s.modes, s.id
	option := acp.OptionOfCategory(s.options, acp.CategoryMode)
	s.mu.Unlock()
	if modes == nil && option != nil {
		return s.setCategory(ctx, acp.CategoryMode, mode)
	}
	if modes != nil {
		var known []string
		for _, m := range modes.AvailableModes {
			known = append(known, m.ID)
		}
		if len(known) > 0 && !slices.Contains(known, mode) {
			return &UnsupportedValueError{SessionID: id, Category: acp.CategoryMode, ConfigID: "mode", Value: mode, Allowed: known}
		}
	}
	err := s.send(ctx, acp.MethodSetMode, func(id string) any { return acp.SetModeRequest{SessionID: id, ModeID: mode} }, nil)
	var refused *RPCError
	if errors.As(err, &refused) && refused.Code == acp.CodeMethodNotFound {
		return s.setCategory(ctx, acp.CategoryMode, mode)
	}
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	s.mu.Lock()
	s.modeChanged(mode)
	s.mu.Unlock()
	s.choose(acp.CategoryMode, mode)
	return nil
}

// setCategory sets the first option of a category.
func (s *Session) setCategory(ctx context.Context, category, value string) error {
	s.mu.Lock()
	option := acp.OptionOfCategory(s.options, category)
	var missing *UnsupportedCategoryError
	id := ""
	if option == nil {
		missing = &UnsupportedCategoryError{SessionID: s.id, Category: category, Available: categories(s.options)}
	} else {
		id = option.ID
	}
	s.mu.Unlock()
	if missing != nil {
		return missing
	}
	if err := s.SetConfigOption(ctx, id, value); err != nil {
		return err
	}
	s.choose(category, value)
	return nil
}

// categories lists the categories of options, sorted, each once.
func categories(options []acp.ConfigOption) []string {
	var names []string
	for _, o := range options {
		if o.Category != "" && !slices.Contains(names, o.Category) {
			names = append(names, o.Category)
		}
	}
	slices.Sort(names)
	return names
}

// SetConfigOption sets one of [Session.ConfigOptions]. An option that is not
// there is an [*UnsupportedOptionError], a value that it does not list an
// [*UnsupportedValueError].
func (s *Session) SetConfigOption(ctx context.Context, id, value string) error {
	id, value = strings.TrimSpace(id), strings.TrimSpace(value)
	if id == "" || value == "" {
		return errors.New("set config option: id and value must not be empty")
	}
	if err := s.checkOption(id, value); err != nil {
		return err
	}
	var result acp.SetConfigOptionResult
	err := s.send(ctx, acp.MethodSetConfigOption, func(session string) any {
		return acp.SetConfigOptionRequest{SessionID: session, ConfigID: id, Value: value}
	}, &result)
	if err != nil {
		return fmt.Errorf("set config option %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if result.ConfigOptions != nil {
		s.options = result.ConfigOptions
	} else if option := acp.OptionByID(s.options, id); option != nil {
		s.options = slices.Clone(s.options)
		acp.OptionByID(s.options, id).CurrentValue = value
	}
	s.modeFromOptions()
	return nil
}

func (s *Session) checkOption(id, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	option := acp.OptionByID(s.options, id)
	if option == nil {
		var ids []string
		for _, o := range s.options {
			ids = append(ids, o.ID)
		}
		return &UnsupportedOptionError{SessionID: s.id, ConfigID: id, Available: ids}
	}
	if option.Allows(value) {
		return nil
	}
	category := option.Category
	if category == "" {
		category = uncategorized
	}
	var allowed []string
	for _, v := range option.Values() {
		allowed = append(allowed, v.Value)
	}
	return &UnsupportedValueError{SessionID: s.id, Category: category, ConfigID: id, Value: value, Allowed: allowed}
}

// send calls a method of the live session; params gets the session's id.
func (s *Session) send(ctx context.Context, method string, params func(id string) any, result any) error {
	conn, err := s.live(ctx)
	if err != nil {
		return err
	}
	raw, err := conn.call(ctx, method, params(s.ID()))
	if err != nil || result == nil || len(raw) == 0 {
		return err
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// choose remembers a setting for when the session comes back.
func (s *Session) choose(category, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chosen[category] = value
}

// chooseAgain makes the settings of before on a session that came back. What
// the agent does not take any more stays at the agent's choice.
func (s *Session) chooseAgain(ctx context.Context, conn *connection) {
	s.mu.Lock()
	id := s.id
	type setting struct{ category, value string }
	var settings []setting
	for _, category := range []string{acp.CategoryMode, acp.CategoryModel, acp.CategoryThoughtLevel} {
		if value := s.chosen[category]; value != "" {
			settings = append(settings, setting{category, value})
		}
	}
	options, modes, models := s.options, s.modes, s.models
	s.mu.Unlock()
	for _, set := range settings {
		method, params := "", any(nil)
		switch option := acp.OptionOfCategory(options, set.category); {
		case set.category == acp.CategoryMode && modes != nil:
			method, params = acp.MethodSetMode, acp.SetModeRequest{SessionID: id, ModeID: set.value}
		case option != nil:
			method, params = acp.MethodSetConfigOption, acp.SetConfigOptionRequest{SessionID: id, ConfigID: option.ID, Value: set.value}
		case set.category == acp.CategoryModel && models != nil:
			method, params = acp.MethodSetModel, acp.SetModelRequest{SessionID: id, ModelID: set.value}
		default:
			continue
		}
		if _, err := conn.call(ctx, method, params); err != nil {
			s.c.log.Warn("setting is not as before", "session", id, "setting", set.category, "error", err)
			continue
		}
		s.mu.Lock()
		if set.category == acp.CategoryMode {
			s.modeChanged(set.value)
		} else if option := acp.OptionOfCategory(s.options, set.category); option != nil {
			optionID := option.ID
			s.options = slices.Clone(s.options)
			acp.OptionByID(s.options, optionID).CurrentValue = set.value
		}
		s.mu.Unlock()
	}
}

// modeChanged keeps modes and the option for the mode alike. The caller holds
// mu.
func (s *Session) modeChanged(mode string) {
	if s.modes != nil {
		modes := *s.modes
		modes.CurrentModeID = mode
		s.modes = &modes
	}
	if option := acp.OptionOfCategory(s.options, acp.CategoryMode); option != nil {
		id := option.ID
		s.options = slices.Clone(s.options)
		acp.OptionByID(s.options, id).CurrentValue = mode
	}
}

// modeFromOptions is modeChanged by the option for the mode. The caller holds
// mu.
func (s *Session) modeFromOptions() {
	option := acp.OptionOfCategory(s.options, acp.CategoryMode)
	if option != nil && s.modes != nil && option.CurrentValue != "" {
		modes := *s.modes
		modes.CurrentModeID = option.CurrentValue
		s.modes = &modes
	}
}

package acp

import "encoding/json"

// SessionModes are the ways of working an agent offers.
type SessionModes struct {
	CurrentModeID  string `json:"currentModeId"`
	AvailableModes []Mode `json:"availableModes"`
}

// Mode is one of them.
type Mode struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// SessionModels are the models of agents that still have session/set_model.
type SessionModels struct {
	CurrentModelID  string  `json:"currentModelId"`
	AvailableModels []Model `json:"availableModels"`
}

// Model is one of them.
type Model struct {
	ModelID     string `json:"modelId"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// SetModeRequest are the params of session/set_mode.
type SetModeRequest struct {
	SessionID string `json:"sessionId"`
	ModeID    string `json:"modeId"`
}

// SetModelRequest are the params of session/set_model.
type SetModelRequest struct {
	SessionID string `json:"sessionId"`
	ModelID   string `json:"modelId"`
}

// SetConfigOptionRequest are the params of session/set_config_option.
type SetConfigOptionRequest struct {
	SessionID string `json:"sessionId"`
	ConfigID  string `json:"configId"`
	Value     string `json:"value"`
}

// SetConfigOptionResult carries all options, as setting one may change others.
type SetConfigOptionResult struct {
	ConfigOptions []ConfigOption `json:"configOptions"`
}

// Categories of config option that clients know. An agent may use others.
const (
	CategoryModel        = "model"
	CategoryMode         = "mode"
	CategoryThoughtLevel = "thought_level"
)

// Types of config option.
const (
	OptionSelect  = "select"
	OptionBoolean = "boolean"
)

// A ConfigOption is a setting of a session.
type ConfigOption struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Description  string        `json:"description,omitempty"`
	Category     string        `json:"category,omitempty"`
	Type         string        `json:"type"`
	CurrentValue string        `json:"currentValue"` // "true" or "false" for a boolean
	Options      []ConfigValue `json:"options,omitempty"`
}

// A ConfigValue is a value to choose from, or a named group of values: then
// Options is not empty and Value is.
type ConfigValue struct {
	Value       string        `json:"value,omitempty"`
	Group       string        `json:"group,omitempty"`
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Options     []ConfigValue `json:"options,omitempty"`
}

type plainOption ConfigOption

// UnmarshalJSON also takes a current value that is not a string, as its JSON text.
func (o *ConfigOption) UnmarshalJSON(data []byte) error {
	wire := struct {
		*plainOption
		CurrentValue json.RawMessage `json:"currentValue"`
	}{plainOption: (*plainOption)(o)}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	o.CurrentValue = ""
	if len(wire.CurrentValue) == 0 || string(wire.CurrentValue) == "null" {
		return nil
	}
	if json.Unmarshal(wire.CurrentValue, &o.CurrentValue) != nil {
		o.CurrentValue = string(wire.CurrentValue)
	}
	return nil
}

// MarshalJSON writes the current value of a boolean as one.
func (o ConfigOption) MarshalJSON() ([]byte, error) {
	if o.Type != OptionBoolean {
		return encode(plainOption(o))
	}
	return encode(struct {
		plainOption
		CurrentValue bool `json:"currentValue"`
	}{plainOption(o), o.CurrentValue == "true"})
}

// Values lists the values of all groups, each once, in the order given; of a
// boolean both.
func (o ConfigOption) Values() []ConfigValue {
	if o.Type == OptionBoolean {
		return []ConfigValue{{Value: "true", Name: "On"}, {Value: "false", Name: "Off"}}
	}
	var all []ConfigValue
	seen := map[string]bool{}
	var add func([]ConfigValue)
	add = func(values []ConfigValue) {
		for _, v := range values {
			if len(v.Options) > 0 {
				add(v.Options)
			} else if !seen[v.Value] {
				seen[v.Value] = true
				all = append(all, v)
			}
		}
	}
	add(o.Options)
	return all
}

// Allows reports whether value may be set. An option that lists no values allows
// all.
func (o ConfigOption) Allows(value string) bool {
	values := o.Values()
	for _, v := range values {
		if v.Value == value {
			return true
		}
	}
	return len(values) == 0
}

// OptionOfCategory returns the first option of a category, nil if there is none.
// The pointer is into options.
func OptionOfCategory(options []ConfigOption, category string) *ConfigOption {
	for i := range options {
		if options[i].Category == category {
			return &options[i]
		}
	}
	return nil
}

// OptionByID returns the option with that id, nil if there is none. The pointer
// is into options.
func OptionByID(options []ConfigOption, id string) *ConfigOption {
	for i := range options {
		if options[i].ID == id {
			return &options[i]
		}
	}
	return nil
}

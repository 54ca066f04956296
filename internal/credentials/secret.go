package credentials

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret is a string that shows itself only through [Secret.Reveal]. Printed,
// logged or encoded, it gives its ends, or nothing if it is short.
type Secret struct{ value string }

// NewSecret returns a secret.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// String returns the redacted value.
func (s Secret) String() string {
	if len(s.value) <= 8 {
		return "****"
	}
	return s.value[:4] + "..." + s.value[len(s.value)-4:]
}

// Format redacts whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalJSON encodes the redacted value.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue logs the redacted value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

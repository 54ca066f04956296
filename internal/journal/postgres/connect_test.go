package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestParse(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://host/db":                            "sandbox_agent",
		"postgresql://u:secret@host/db?schema=fleet":    "fleet",
		"postgres://host/db?schema=a_1&sslmode=disable": "a_1",
	} {
		config, schema, err := parse(url)
		if err != nil || schema != want || config.ConnConfig.RuntimeParams["search_path"] != want {
			t.Errorf("%s: schema %q, %v", url, schema, err)
		}
		if _, left := config.ConnConfig.RuntimeParams["schema"]; left {
			t.Errorf("%s: the server would be told of the parameter schema", url)
		}
	}
	for _, url := range []string{
		"postgres://u:secret@host/db?schema=A", "postgres://u:secret@host/db?schema=a;b", "postgres://u:secret@host:x/db", "://secret",
		"postgres://u:secret@host/db?schema=" + strings.Repeat("a", 64),
	} {
		_, _, err := parse(url)
		if !errors.Is(err, api.CodeInvalidRequest) {
			t.Errorf("%s: %v", url, err)
		} else if url[0] == 'p' && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/cli"
)

// TestFresh holds the committed files to what the code says now.
func TestFresh(t *testing.T) {
	document, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	page, err := matrix(filepath.Join("..", "..", measured))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"api/openapi.json": document, "docs/cli.md": cli.Reference(), "docs/agents.md": page} {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale; run make gen", name)
		}
	}
}

// Command gen writes the files that are generated from the code: the OpenAPI
// document, the reference of the command line, and the matrix of the agents. Run it from the module root.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/cli"
)

// measured is what the conformance tests have seen of the agents.
const measured = "conformance/agents/measured.json"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	document, err := openAPI()
	if err != nil {
		return err
	}
	if err := os.WriteFile("api/openapi.json", document, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile("docs/cli.md", cli.Reference(), 0o644); err != nil {
		return err
	}
	page, err := matrix(measured)
	if err != nil {
		return err
	}
	return os.WriteFile("docs/agents.md", page, 0o644)
}

// matrix lays out what the agents can do, by what the conformance tests have seen.
func matrix(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var seen agents.Measured
	if err := json.Unmarshal(data, &seen); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return agents.Matrix(seen), nil
}

// openAPI asks a server for its document and lays it out for reading.
func openAPI() ([]byte, error) {
	dir, err := os.MkdirTemp("", "gen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	srv, err := app.Open(app.Config{DataDir: dir, Home: dir})
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	data, err := srv.OpenAPI()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Command gen writes the files that are generated from the code: the OpenAPI
// document and the reference of the command line. Run it from the module root.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/cli"
)

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
	return os.WriteFile("docs/cli.md", cli.Reference(), 0o644)
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

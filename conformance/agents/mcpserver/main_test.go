package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// serveVariable makes the test binary the server itself.
const serveVariable = "MCPSERVER_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		os.Args = []string{os.Args[0], "-word", "plover"}
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestLookup(t *testing.T) {
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), serveVariable+"=1")
	child.Stderr = t.Output()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil)
	session, err := client.Connect(t.Context(), &mcp.CommandTransport{Command: child}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tools.Tools) != 1 || tools.Tools[0].Name != "lookup" {
		t.Errorf("tools are %v", tools.Tools)
	}
	for _, args := range []map[string]any{{}, {"key": "door"}} {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "lookup", Arguments: args})
		if err != nil {
			t.Fatal(err)
		}
		text, ok := result.Content[0].(*mcp.TextContent)
		if result.IsError || !ok || text.Text != "plover" {
			t.Errorf("lookup of %v answered %+v", args, result)
		}
	}
}

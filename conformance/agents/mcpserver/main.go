// Command mcpserver is an MCP server on standard streams for the tests with real
// agents. Its one tool, lookup, answers with the word it was started with, so
// that a test that finds the word in an agent's reply knows that the agent
// started this server and called it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type lookupInput struct {
	Key string `json:"key,omitempty" jsonschema:"what to look up; any text"`
}

func main() {
	word := flag.String("word", "xyzzy", "what the tool answers")
	flag.Parse()
	if err := serve(context.Background(), *word, &mcp.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, "mcpserver:", err)
		os.Exit(1)
	}
}

// serve answers one client until it closes the connection.
func serve(ctx context.Context, word string, transport mcp.Transport) error {
	server := mcp.NewServer(&mcp.Implementation{Name: "lookup", Version: "1.0.0"}, nil)
	tool := &mcp.Tool{Name: "lookup", Description: "Looks up the secret word."}
	mcp.AddTool(server, tool, func(context.Context, *mcp.CallToolRequest, lookupInput) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: word}}}, nil, nil
	})
	return server.Run(ctx, transport)
}

package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func TestWordsOfErrors(t *testing.T) {
	missing := func(id string) *api.Error {
		e := api.NewError(api.KindSessionNotFound, api.CodeConfigNotFound, "%s", id)
		e.SessionID = id
		return e
	}
	for want, err := range map[string]error{
		"a plain error": errors.New("a plain error"),
		`no MCP server "nope" is configured for the directory; see sandbox-agent config mcp list`:        missing("mcp:nope"),
		`no entry of skills "a:b" is configured for the directory; see sandbox-agent config skills list`: missing("skills:a:b"),
		"remove: the directory /w/d is not empty; --recursive removes what is in it as well":             fmt.Errorf("remove: %w", api.StreamError(api.CodeNotEmpty, "Directory not empty (os error 39)").With("path", "/w/d")),
		"/w is a directory, not a file": api.StreamError(api.CodeIsADirectory, "Is a directory (os error 21)").With("path", "/w"),
		"no program nosuch is on the PATH of the server; install it there, or give its path":  api.StreamError(api.CodeProgramNotFound, "failed to spawn process: find program nosuch: executable file not found in $PATH"),
		"no program no such is on the PATH of the server; install it there, or give its path": api.StreamError(api.CodeProgramNotFound, "failed to spawn tty process: find program no such: executable file not found in $PATH"),
		"the program does not start: fork/exec ./x: permission denied":                        api.StreamError(api.CodeSpawnFailed, "failed to spawn process: fork/exec ./x: permission denied"),
		"No space left on device": api.StreamError(api.CodeNoSpace, "No space left on device (os error 28)"),
		"the program of the terminal has ended; see what it wrote with sandbox-agent process logs": api.Conflict(api.CodeTerminalClosed, "PTY resize handle unavailable"),
		"tail must be a number": api.InvalidRequest(api.CodeInvalidQuery, "tail must be a number"),
	} {
		if got := words(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

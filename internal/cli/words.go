package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
)

// Errors of a server have words of the earlier server where its clients read them. For
// people they are put as: what failed, why, and what to do.

// osNumber is how the earlier server ends the text of an error of the system.
var osNumber = regexp.MustCompile(` \(os error \d+\)`)

// kinds are the beginnings that say no more than the status does.
var kinds = []string{"stream error: ", "invalid request: ", "conflict: "}

// configNouns are the settings that stand before the colon in the id of one that is
// missing.
var configNouns = map[string]string{"mcp": "MCP server", "skills": "entry of skills"}

// words returns the text of an error for people.
func words(err error) string {
	text := err.Error()
	var problem *api.Error
	if !errors.As(err, &problem) {
		return text
	}
	plain := osNumber.ReplaceAllString(problem.Error(), "")
	for _, kind := range kinds {
		plain = strings.TrimPrefix(plain, kind)
	}
	for _, spawn := range []string{"failed to spawn process: ", "failed to spawn tty process: "} {
		if why, ok := strings.CutPrefix(plain, spawn); ok {
			plain = "the program does not start: " + why
		}
	}
	path, _ := problem.Details["path"].(string)
	switch problem.Code {
	case api.CodeConfigNotFound:
		noun, name, _ := strings.Cut(problem.SessionID, ":")
		plain = fmt.Sprintf("no %s %q is configured for the directory; see sandbox-agent config %s list", configNouns[noun], name, noun)
	case api.CodeNotEmpty:
		plain = fmt.Sprintf("the directory %s is not empty; --recursive removes what is in it as well", path)
	case api.CodeIsADirectory:
		plain = fmt.Sprintf("%s is a directory, not a file", path)
	case api.CodeNotADirectory:
		plain = fmt.Sprintf("%s is not a directory", path)
	case api.CodeProgramNotFound:
		_, program, _ := strings.Cut(plain, "find program ")
		program, _, _ = strings.Cut(program, ": executable file not found")
		plain = fmt.Sprintf("no program %s is on the PATH of the server; install it there, or give its path", program)
	case api.CodeTerminalClosed:
		plain = "the program of the terminal has ended; see what it wrote with sandbox-agent process logs"
	}
	return strings.Replace(text, problem.Error(), plain, 1)
}

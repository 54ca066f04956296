package server_test

import (
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/app"
)

// A NUL byte is in no name of a file, a program, a variable, or a directory: what has
// one is a fault of the request.
func TestNULBytesAreRefused(t *testing.T) {
	in := start(t, app.Config{})
	in.create(t, `,"id":"s"`)
	refused := func(name, method, path, body string) {
		t.Run(name, func(t *testing.T) {
			in.check(t, scenario{method: method, path: path, header: jsonBody, body: body, status: 400})
		})
	}
	refused("tool servers of a directory", "GET", "/v1/config/mcp?directory=%2Ftmp%00x&mcpName=a", "")
	refused("all tool servers of a directory", "GET", "/v1/config/mcp?directory=%00", "")
	refused("set a tool server", "PUT", "/v1/config/mcp?directory=%2Ftmp%00x&mcpName=a", `{"type":"local","command":"true"}`)
	refused("remove a tool server", "DELETE", "/v1/config/mcp?directory=%2Ftmp%00x&mcpName=a", "")
	refused("skills of a directory", "GET", "/v1/config/skills?directory=%2Ftmp%2F%00&skillName=a", "")
	refused("set skills", "PUT", "/v1/config/skills?directory=%00%2Ftmp&skillName=a", `{"sources":[]}`)
	refused("remove skills", "DELETE", "/v1/config/skills?directory=%2F%00&skillName=a", "")
	refused("list a directory", "GET", "/v1/fs/entries?path=a%00", "")
	refused("read a file", "GET", "/v1/fs/file?path=a%00b", "")
	refused("stat", "GET", "/v1/fs/stat?path=%00", "")
	refused("search", "GET", "/v1/fs/search?path=%00&query=a", "")
	refused("archive", "GET", "/v1/fs/archive?path=%00", "")
	refused("watch", "GET", "/v1/fs/watch?path=%00", "")
	refused("make a directory", "POST", "/v1/fs/mkdir?path=a%00", "")
	refused("remove", "DELETE", "/v1/fs/entry?path=a%00", "")
	refused("move from", "POST", "/v1/fs/move", `{"from":"a\u0000","to":"b"}`)
	refused("move to", "POST", "/v1/fs/move", `{"from":"a","to":"b\u0000"}`)
	refused("run a program", "POST", "/v1/processes/run", `{"command":"true\u0000"}`)
	refused("run with an argument", "POST", "/v1/processes/run", `{"command":"true","args":["a\u0000b"]}`)
	refused("run in a directory", "POST", "/v1/processes/run", `{"command":"true","cwd":"/tmp\u0000"}`)
	refused("run with a variable", "POST", "/v1/processes/run", `{"command":"true","env":{"A":"b\u0000"}}`)
	refused("run with a name of a variable", "POST", "/v1/processes/run", `{"command":"true","env":{"A\u0000":"b"}}`)
	refused("start a program", "POST", "/v1/processes", `{"command":"a\u0000"}`)
	refused("start on a terminal", "POST", "/v1/processes", `{"command":"true","args":["\u0000"],"tty":true}`)
	refused("start in a directory", "POST", "/v1/processes", `{"command":"true","cwd":"\u0000"}`)
	refused("session in a directory", "POST", "/v1/sessions", `{"agent":"mock","cwd":"/tmp\u0000"}`)
	refused("session with a variable", "POST", "/v1/sessions", `{"agent":"mock","env":{"A":"\u0000"}}`)
	refused("agent", "GET", "/v1/agents/a%00", "")
	refused("install of a version", "POST", "/v1/agents/mock/install", `{"agentVersion":"1\u0000"}`)
}

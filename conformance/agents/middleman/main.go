// Command middleman starts an agent and passes on what the agent and its client
// say to each other, but for what its flags change. In a test the launcher of a
// real agent starts it: the server then gets a frame that the agent does not send
// by itself, and the agent is the one that waits for the reply.
//
//	middleman [-permission PATCH] [-before LINE]... PROGRAM [ARGUMENT]...
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// A middleman is what is changed on the way from the agent to its client.
type middleman struct {
	patch  map[string]any // of the parameters of every permission request, as RFC 7396 has it; nil changes nothing
	before []string       // lines that come before the first permission request, as if the agent had sent them
}

const permissionMethod = "session/request_permission"

func main() {
	var m middleman
	flag.Func("permission", "JSON merge `patch` of the parameters of permission requests", func(text string) error {
		return json.Unmarshal([]byte(text), &m.patch)
	})
	flag.Func("before", "`line` to send before the first permission request; SESSION in it stands for the id of the session", func(line string) error {
		m.before = append(m.before, line)
		return nil
	})
	flag.Parse()
	if err := m.run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "middleman:", err)
		os.Exit(1)
	}
}

// run starts the agent and returns when it has ended.
func (m *middleman) run(command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("start the agent: no program is given")
	}
	agent := exec.Command(command[0], command[1:]...)
	agent.Stdin, agent.Stderr = os.Stdin, os.Stderr
	out, err := agent.StdoutPipe()
	if err != nil {
		return err
	}
	if err := agent.Start(); err != nil {
		return err
	}
	if err := m.pass(os.Stdout, out); err != nil {
		return err
	}
	return agent.Wait()
}

// pass copies the lines of an agent, and changes those that are to be changed.
func (m *middleman) pass(to io.Writer, from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		for _, out := range m.change(line) {
			if _, err := to.Write(out); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// change returns the lines in place of one.
func (m *middleman) change(line []byte) [][]byte {
	var frame map[string]any
	if json.Unmarshal(line, &frame) != nil || frame["method"] != permissionMethod {
		return [][]byte{line}
	}
	var lines [][]byte
	params, _ := frame["params"].(map[string]any)
	session, _ := params["sessionId"].(string)
	for _, text := range m.before {
		lines = append(lines, []byte(strings.ReplaceAll(text, "SESSION", session)+"\n"))
	}
	m.before = nil
	if m.patch == nil {
		return append(lines, line)
	}
	frame["params"] = merge(frame["params"], m.patch)
	changed, err := json.Marshal(frame)
	if err != nil {
		return append(lines, line)
	}
	return append(lines, append(changed, '\n'))
}

// merge applies a merge patch (RFC 7396, section 2).
func merge(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range members {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = merge(object[name], value)
		}
	}
	return object
}

package permission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

// Parse reads a policy and checks it as [Check] does. Unknown members are refused,
// since a rule means something else without a pattern that is misspelt.
func Parse(data []byte) (*api.PermissionPolicy, error) {
	var p api.PermissionPolicy
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if err == nil && d.Decode(new(json.RawMessage)) != io.EOF {
		err = fmt.Errorf("there is more behind it")
	}
	if err != nil {
		return nil, invalid("%w", err)
	}
	return Check(&p)
}

// Call returns the tool call of a dry run: the one that is given, or else that of a
// command line.
func Call(given json.RawMessage, command string) (call acp.ToolCall, err error) {
	if len(given) == 0 {
		input, err := json.Marshal(map[string]string{"command": command})
		return acp.ToolCall{Title: command, Kind: acp.ToolExecute, RawInput: input}, err
	}
	if err := json.Unmarshal(given, &call); err != nil || given[0] != '{' {
		return call, api.InvalidRequest(api.CodeInvalidRequest, "read toolCall: it is not a tool call of the Agent Client Protocol: %s", given[:min(len(given), 100)])
	}
	return call, nil
}

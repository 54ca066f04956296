package schema

import "testing"

func TestConversation(t *testing.T) {
	const opened = `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/w","mcpServers":[]}}`
	for name, test := range map[string]struct {
		client, agent string
		ok            bool
	}{
		"a request":                  {client: opened, ok: true},
		"its response":               {client: opened, agent: `{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s"}}`, ok: true},
		"its error":                  {client: opened, agent: `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}`, ok: true},
		"an extension":               {client: `{"jsonrpc":"2.0","id":1,"method":"_x/y"}`, ok: true},
		"a cancelled request":        {client: `{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":1}}`, ok: true},
		"no servers":                 {client: `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/w"}}`},
		"a server of no kind":        {client: `{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/w","mcpServers":[{"name":"x"}]}}`},
		"no session id":              {client: opened, agent: `{"jsonrpc":"2.0","id":1,"result":{}}`},
		"a null result":              {client: opened, agent: `{"jsonrpc":"2.0","id":1,"result":null}`},
		"an error without a message": {client: opened, agent: `{"jsonrpc":"2.0","id":1,"error":{"code":1}}`},
		"a response to nothing":      {client: opened, agent: `{"jsonrpc":"2.0","id":2,"result":{}}`},
		"no version":                 {client: `{"id":1,"method":"session/new","params":{"cwd":"/w","mcpServers":[]}}`},
		"a method of the other side": {client: `{"jsonrpc":"2.0","id":1,"method":"session/request_permission","params":{}}`},
		"a method of nobody":         {client: `{"jsonrpc":"2.0","id":1,"method":"session/fork","params":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := new(Conversation)
			err := c.FromClient([]byte(test.client))
			if err == nil && test.agent != "" {
				err = c.FromAgent([]byte(test.agent))
			}
			if (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

package sandboxagent

// Token returns the token of a client.
func Token(c *Client) string { return c.token }

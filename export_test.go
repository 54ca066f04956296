package sandboxagent

// Busy reports whether a turn of the session is with the agent.
func Busy(s *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn != nil && s.conn != nil
}

// Token returns the token of a client.
func Token(c *Client) string { return c.token }

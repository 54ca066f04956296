package sandboxagent

// Busy reports whether a turn of the session is on its way to the agent.
func Busy(s *Session) bool {
	s.mu.Lock()
	t, conn := s.turn, s.conn
	s.mu.Unlock()
	if t == nil || conn == nil {
		return false
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return len(conn.pending) > 0
}

// Token returns the token of a client.
func Token(c *Client) string { return c.token }

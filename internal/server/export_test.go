package server

import "context"

// TrimNow does what the server does by itself from time to time.
func (s *Server) TrimNow(ctx context.Context) error { return s.journal.Trim(ctx) }

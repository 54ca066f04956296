package app

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"sync"
)

// Running is a server that serves this program alone: on a free port of this
// machine, with a token that nothing else has.
type Running struct {
	URL   string
	Token string

	close func() error
}

// Start opens a server and serves. The Stop of cfg is set, and its Token if that is
// empty. Close it to end it.
func Start(cfg Config) (*Running, error) {
	if cfg.Token == "" {
		cfg.Token = rand.Text()
	}
	ctx, stop := context.WithCancel(context.Background())
	cfg.Stop = stop
	srv, err := Open(cfg)
	if err != nil {
		stop()
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, errors.Join(err, srv.Close())
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, listener) }()
	return &Running{
		URL:   "http://" + listener.Addr().String(),
		Token: cfg.Token,
		close: sync.OnceValue(func() error {
			stop()
			return <-served
		}),
	}, nil
}

// Close shuts the server down and returns when nothing of it runs any more. Further
// calls return what the first one returned.
func (r *Running) Close() error { return r.close() }

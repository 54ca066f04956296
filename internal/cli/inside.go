package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"net"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/internal/server"
)

// inside is a server within this program, and a client of it.
type inside struct {
	client *sandboxagent.Client
	stop   func()
}

// openInside starts a server on a free port of this machine that only this
// program has the token for.
func openInside(cfg server.Config) (*inside, error) {
	cfg.Token = rand.Text()
	srv, err := server.Open(cfg)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, srv.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, listener) }()
	client := sandboxagent.New("http://"+listener.Addr().String(), sandboxagent.WithToken(cfg.Token))
	return &inside{client, func() {
		client.Close()
		cancel()
		if err := <-served; err != nil {
			cfg.Logger.Warn("stop server", "error", err)
		}
	}}, nil
}

package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
	"github.com/sandboxagent/sandboxagent/internal/server"
)

// insideConfig configures a server within this program that works on the data of
// the user. It takes in the runs that have ended.
func (g *globals) insideConfig(o *serverOptions) (server.Config, error) {
	log, err := g.logger(slog.LevelError)
	if err != nil {
		return server.Config{}, err
	}
	o.host = "127.0.0.1"
	cfg, err := g.serverConfig(o, log)
	if err != nil {
		return cfg, err
	}
	if sqlite.Held(g.journalFile()) {
		return cfg, nil
	}
	if err := g.adoptRuns(context.Background()); err != nil {
		log.Error("take in runs", "error", err)
	}
	return cfg, nil
}

// inside is a server within this program, and a client of it.
type inside struct {
	client *sandboxagent.Client
	stop   func()
}

// openInside starts a server on a free port of this machine that only this
// program has the token for.
func (g *globals) openInside(cfg server.Config) (*inside, error) {
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
	client := sandboxagent.New("http://"+listener.Addr().String(), sandboxagent.WithToken(cfg.Token), sandboxagent.WithClientName(g.clientName()))
	return &inside{client, func() {
		client.Close()
		cancel()
		if err := <-served; err != nil {
			cfg.Logger.Warn("stop server", "error", err)
		}
	}}, nil
}

package cli

import (
	"context"
	"log/slog"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// insideConfig configures a server within this program that works on the data of
// the user. It takes in the runs that have ended.
func (g *globals) insideConfig(o *serverOptions) (app.Config, error) {
	log, err := g.logger(slog.LevelError)
	if err != nil {
		return app.Config{}, err
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
func (g *globals) openInside(cfg app.Config) (*inside, error) {
	conceal.Process()
	cfg.Token = "" // one of its own
	running, err := app.Start(cfg)
	if err != nil {
		return nil, err
	}
	client := sandboxagent.New(running.URL, sandboxagent.WithToken(running.Token), sandboxagent.WithClientName(g.clientName()))
	return &inside{client, func() {
		client.Close()
		if err := running.Close(); err != nil {
			cfg.Logger.Warn("stop server", "error", err)
		}
	}}, nil
}

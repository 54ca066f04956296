// Package server is the HTTP face of a sandbox: it decodes requests, calls the
// package of the noun, and encodes the answer. The work itself is elsewhere.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/agents"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/compat"
	"github.com/sandboxagent/sandboxagent/internal/files"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/process"
	"github.com/sandboxagent/sandboxagent/internal/session"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// Config says how a server answers. Limits and Logger are required.
type Config struct {
	Version string // of the program
	Commit  string
	DataDir string // as clients see it

	Token        string   // empty means that every request is allowed
	AllowedHosts []string // Host names served without a token in addition to loopback; * means any
	CORS         httpkit.CORS

	// AgentUser is who agents and processes run as, and AsUser calls a function with the
	// rights to files of that user. Empty and nil mean the user of this program.
	AgentUser string
	AsUser    func(func() error) error

	Ballast int // bytes to allocate and never touch, see package app

	Limits api.Limits // all of them
	Logger *slog.Logger

	// Stop is called when a client asks the server to shut down. Nil means that
	// clients cannot.
	Stop context.CancelFunc
}

// Nouns do the work. All of them are required; the server closes them.
type Nouns struct {
	Journal   *journal.Journal
	Agents    *agents.Catalogue
	Settings  *settings.Settings
	Sessions  *session.Manager
	Clients   *compat.Clients // of the bridge and the sessions
	Files     *files.FS
	Processes *process.Supervisor
	Children  *bridge.Roster // of the sessions and the processes
}

// Server serves one sandbox. It is an [http.Handler]; Serve runs it on a
// listener.
type Server struct {
	cfg     Config
	log     *slog.Logger
	limits  api.Limits
	started time.Time
	router  *httpkit.Router

	journal   *journal.Journal
	agents    *agents.Catalogue
	settings  *settings.Settings
	bridge    *bridge.Bridge
	sessions  *session.Manager
	clients   *compat.Clients
	followers followers
	files     *files.FS
	processes *process.Supervisor
	children  *bridge.Roster // all agents and processes

	base       context.Context // ends when the server stops; streams end with it
	cancelBase context.CancelFunc
	background sync.WaitGroup
	stopping   atomic.Bool // a client has asked for the end
	closeOnce  sync.Once
	closeErr   error
}

// New makes a server of nouns, which it holds until Close.
func New(cfg Config, nouns Nouns) *Server {
	s := &Server{
		cfg:     cfg,
		log:     cfg.Logger,
		limits:  cfg.Limits,
		started: time.Now(),

		journal:   nouns.Journal,
		agents:    nouns.Agents,
		settings:  nouns.Settings,
		bridge:    nouns.Sessions.Bridge(),
		sessions:  nouns.Sessions,
		clients:   nouns.Clients,
		files:     nouns.Files,
		processes: nouns.Processes,
		children:  nouns.Children,
	}
	base, cancel := context.WithCancelCause(context.Background())
	s.base, s.cancelBase = base, func() { cancel(httpkit.ErrStopping) }
	s.routes()
	s.background.Go(s.trim)
	return s
}

// routes registers every route of the server.
func (s *Server) routes() {
	s.router = httpkit.New(httpkit.Config{
		Title:        "Sandbox Agent",
		Version:      s.cfg.Version,
		Description:  "One server inside a sandbox for coding agents, sessions, files, processes and terminals.",
		Schemas:      map[reflect.Type]reflect.Type{typeOf[api.PermissionDefault](): typeOf[permissionDefault](), typeOf[api.OptionValue](): typeOf[optionValue]()},
		Namespace:    "sandbox_agent",
		Token:        s.cfg.Token,
		AllowedHosts: s.cfg.AllowedHosts,
		CORS:         s.cfg.CORS,
		Before:       s.clients.Prepare,
		MaxBodyBytes: s.limits.MaxBodyBytes,
		Bounds: httpkit.Bounds{
			MaxConnections: s.limits.MaxHTTPConnections,
			MaxHeaderBytes: s.limits.MaxHeaderBytes,
			HeaderTimeout:  milliseconds(s.limits.HeaderTimeoutMs),
			BodyStall:      milliseconds(s.limits.BodyStallMs),
			ResponseStall:  milliseconds(s.limits.ResponseStallMs),
		},
		Logger: s.log,
	})
	s.router.Metrics().MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sandbox_agent_acp_connections", Help: "ACP connections of this run of the server.",
		}, func() float64 { return float64(len(s.bridge.List())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sandbox_agent_journal_degraded", Help: "1 while events cannot be written to disk.",
		}, func() float64 {
			if s.journal.Health() != nil {
				return 1
			}
			return 0
		}),
	)
	s.metaRoutes()
	s.agentRoutes()
	s.sandboxRoutes()
	s.acpRoutes()
	s.sessionRoutes()
	s.processRoutes()
	s.configRoutes(s.settings)
	s.fileRoutes(s.files)
	s.uiRoutes()
	s.describeBounds()
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// Routes returns every route the server answers as "METHOD /path/{with}", sorted.
func (s *Server) Routes() []string { return s.router.Routes() }

// trim drops old events soon after the start, as not every server lives for long,
// and then from time to time until the server stops.
func (s *Server) trim() {
	for after := time.Minute; ; after = time.Hour {
		select {
		case <-s.base.Done():
			return
		case <-time.After(after):
			if err := s.journal.Trim(s.base); err != nil && s.base.Err() == nil {
				s.log.Warn("trim journal", "error", err)
			}
		}
	}
}

// Serve answers requests on l until ctx ends, and then shuts down: it stops
// listening, ends streams, agents and children, and closes the journal, all
// within the shutdown limit. It closes the server in every case.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs, failed := s.router.Serve(l, s.base)
	s.background.Go(s.finishStart)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, s.shutdown(hs))
}

// shutdown is the whole of stopping, in order. Each step gets what is left of
// the shutdown limit.
func (s *Server) shutdown(hs *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), milliseconds(s.limits.ShutdownTimeoutMs))
	defer cancel()
	s.log.Info("shutting down", "limitMs", s.limits.ShutdownTimeoutMs)
	if err := s.journal.Ending(); err != nil {
		s.log.Warn("note that the data are about to be free", "error", err)
	}
	s.cancelBase() // ends streams and requests that wait
	polite, cancelPolite := context.WithTimeout(ctx, min(time.Second, milliseconds(s.limits.ShutdownTimeoutMs)/4))
	defer cancelPolite()
	if err := hs.Shutdown(polite); err != nil {
		hs.Close() // connections whose peer does not read
	}
	return s.close(ctx)
}

// Close ends agents and children and closes the journal, for a server that was
// never served. It takes at most the shutdown limit.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), milliseconds(s.limits.ShutdownTimeoutMs))
	defer cancel()
	return s.close(ctx)
}

func (s *Server) close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.cancelBase()
		var children sync.WaitGroup
		var processErr error
		children.Go(func() { processErr = s.processes.Close(ctx) })
		s.closeErr = errors.Join(s.sessions.Close(ctx), s.bridge.Shutdown(ctx))
		children.Wait()
		s.closeErr = errors.Join(s.closeErr, processErr)
		s.background.Wait()
		s.agents.Wait() // an install that was cut off clears up
		s.closeErr = errors.Join(s.closeErr, s.journal.Close())
	})
	return s.closeErr
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

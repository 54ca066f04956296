package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/app"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
	"github.com/sandboxagent/sandboxagent/internal/child/reaper"
	"github.com/sandboxagent/sandboxagent/internal/httpkit"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// serverOptions are the flags of the server command.
type serverOptions struct {
	listen            string
	workDir           string
	host              string
	port              uint16
	tokenFile         string
	cors              httpkit.CORS
	allowHosts        []string
	agentCommands     []string
	registry          string
	journal           string
	requirePreinstall bool
	requestTimeout    time.Duration
	shutdownTimeout   time.Duration
	limits            []string
	stopWithInput     bool
	noParent          bool
	noTelemetry       bool
	agentUser         string
	agentHome         string
}

func newServer(g *globals) *cobra.Command {
	o := &serverOptions{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Serve the HTTP API",
		Long: `Serve the HTTP API until interrupted.

The address is printed on standard output once the server answers. Without a
token only this machine can reach the server: an address that others can reach
needs a token (--token, $SANDBOX_AGENT_TOKEN or --token-file), or --no-token to
say that you know. Agents and processes do not inherit the token.

With --agent-user a server of root runs agents, processes, terminals, and installs as
that user, without capabilities, and does what clients say to files with the rights
of that user. Its token, its data directory, and its socket are out of their reach.
Without it, whatever an agent starts has the rights of the server.

SIGINT, SIGTERM and SIGHUP end streams, agents and processes, and then the server,
within --shutdown-timeout. A SIGHUP that is ignored from the start, as under nohup,
stays so. The server has a small parent, whose id is the one to signal; whichever of
the two is killed, nothing that they have started is left.`,
		Example: `  sandbox-agent server
  SANDBOX_AGENT_TOKEN=secret sandbox-agent server --host 0.0.0.0 --port 8080
  sandbox-agent server --agent-command "mine=/opt/mine/agent --acp" --limit maxConnections=50`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error { return runServer(cmd.Context(), g, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "listen on unix:PATH, or on the socket that descriptor fd:N is, in place of a host and a port")
	f.StringVar(&o.workDir, "work-dir", "", "directory in which sessions work that name none (default the home directory)")
	f.StringVarP(&o.host, "host", "H", "127.0.0.1", "address to listen on")
	f.Uint16VarP(&o.port, "port", "p", 2468, "port to listen on; 0 takes a free one")
	f.StringVar(&o.tokenFile, "token-file", "", "read the token from a file, or from descriptor fd:N")
	f.StringArrayVarP(&o.cors.Origins, "cors-allow-origin", "O", nil, "origin whose pages may call the server (repeatable; * for any)")
	f.StringArrayVarP(&o.cors.Methods, "cors-allow-method", "M", nil, "method such pages may use (repeatable; default any)")
	f.StringArrayVarP(&o.cors.Headers, "cors-allow-header", "A", nil, "header such pages may send (repeatable; default any)")
	f.BoolVarP(&o.cors.Credentials, "cors-allow-credentials", "C", false, "let such pages send credentials")
	f.StringArrayVar(&o.allowHosts, "allow-host", nil, "Host name served without a token, in addition to those of this machine (repeatable; * for any)")
	f.StringArrayVar(&o.agentCommands, "agent-command", nil, "start agent ID with a command, as ID=COMMAND ARG..., quoted as for a shell (repeatable)")
	f.StringVar(&o.registry, "registry", "", "ACP registry to install agents from: a URL or a file (default $SANDBOX_AGENT_ACP_REGISTRY_URL)")
	f.StringVar(&o.journal, "journal", "", "file where events are kept, or memory to keep nothing: sessions then end with the server (default journal.db in the data directory)")
	f.BoolVar(&o.requirePreinstall, "require-preinstall", false, "do not install an agent on its first use")
	f.DurationVar(&o.requestTimeout, "request-timeout", 0, "time an agent has for a reply, prompts excepted (default 2m)")
	f.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 0, "time that stopping takes at most (default 10s)")
	f.StringArrayVar(&o.limits, "limit", nil, "set a bound, as NAME=VALUE (repeatable); GET /v1/limits shows them all")
	f.BoolVar(&o.stopWithInput, "stop-with-stdin", false, "stop also when standard input ends, as it does with the program that holds it")
	f.StringVar(&o.agentUser, "agent-user", "", "run agents and processes as this user: a name, or a number with an optional :GROUP; the server has to be root")
	f.StringVar(&o.agentHome, "agent-home", "", "home directory of --agent-user (default that of the account, else "+agentHomes+"/UID)")
	f.BoolVar(&o.noParent, "no-parent", false, "have no parent process; for the only program of a process namespace, which ends with it")
	f.BoolVar(&o.noTelemetry, "no-telemetry", false, "accepted for compatibility; there is no telemetry")
	return cmd
}

// rustLevel reads the level that the earlier server took from RUST_LOG: a bare one,
// or better that of its own target. What is said of other targets is meant for
// agents.
func rustLevel(filter string) slog.Level {
	level, own := slog.LevelInfo, false
	for directive := range strings.SplitSeq(strings.ToLower(filter), ",") {
		target, name, named := strings.Cut(strings.TrimSpace(directive), "=")
		if !named {
			name = target
		} else if target != "sandbox_agent" {
			continue
		}
		number, known := map[string]slog.Level{
			"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo,
			"warn": slog.LevelWarn, "error": slog.LevelError, "off": slog.LevelError + 1,
		}[name]
		if known && (named || !own) {
			level, own = number, named
		}
	}
	return level
}

func runServer(ctx context.Context, g *globals, o *serverOptions) error {
	if o.noParent {
		conceal.Process() // as a parent sees to it
	} else if err := g.ensureParent(); err != nil {
		return err
	}
	log, err := g.logger(rustLevel(g.env.lookup("RUST_LOG")))
	if err != nil {
		return err
	}
	listener, err := o.open()
	if err != nil {
		return err
	}
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && o.listen != "" {
		o.host = addr.IP.String()
	}
	cfg, err := g.serverConfig(o, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := g.setAgentUser(&cfg, o, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.Stop = cancel
	if err := child.AdoptOrphans(); err != nil {
		log.Warn("ended processes may stay in the process table", "error", err)
	}
	if o.journal == "" {
		if err := g.adoptRuns(ctx); err != nil {
			log.Error("take in runs", "error", err)
		}
	}
	if o.journal == app.MemoryJournal {
		log.Warn("events are in memory alone: the sessions end with this server")
	}
	serve, err := g.openServer(ctx, cfg)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	go func() {
		select {
		case sig := <-g.env.Signals:
			log.Info("signal", "name", sig.String())
			cancel()
		case <-ctx.Done():
		}
	}()
	if o.stopWithInput {
		go func() {
			io.Copy(io.Discard, g.env.In) // an error is an end as well
			log.Info("standard input ended")
			cancel()
		}()
	}
	withdraw := func() error { return nil }
	if !strings.HasPrefix(o.listen, "fd:") { // the program that made the socket knows where it is
		if withdraw, err = g.publish(listener.Addr()); err != nil {
			log.Warn("commands do not find this server by its data directory", "error", err)
			withdraw = func() error { return nil }
		}
	}
	if err := g.announce(listener.Addr(), o); err != nil {
		log.Warn("print address", "error", err)
	}
	manager := g.env.lookup("NOTIFY_SOCKET")
	if err := notifyManager(manager, "READY=1"); err != nil {
		log.Warn("report the start", "error", err)
	}
	defer context.AfterFunc(ctx, func() {
		if err := notifyManager(manager, "STOPPING=1"); err != nil {
			log.Warn("report the end", "error", err)
		}
	})()
	err = errors.Join(serve(ctx, listener), withdraw())
	child.EndOrphans()
	return err
}

// ensureParent gives a server its parent.
func (g *globals) ensureParent() error {
	if g.env.EnsureParent == nil {
		return nil
	}
	return g.env.EnsureParent()
}

// announce prints where the server answers.
func (g *globals) announce(addr net.Addr, o *serverOptions) error {
	url := addr.Network() + ":" + addr.String()
	if addr, ok := addr.(*net.TCPAddr); ok {
		url = "http://" + net.JoinHostPort(o.host, strconv.Itoa(addr.Port))
	}
	if g.json {
		return printJSON(g.env.Out, map[string]any{"url": url, "pid": reaper.PID(), "dataDir": g.data()})
	}
	_, err := fmt.Fprintf(g.env.Out, "Sandbox Agent %s listening on %s\n", Version().Version, url)
	return err
}

// serverConfig resolves flags, then environment, then defaults.
func (g *globals) serverConfig(o *serverOptions, log *slog.Logger) (app.Config, error) {
	version := Version()
	cfg := app.Config{
		Version:           version.Version,
		Commit:            version.Commit,
		DataDir:           g.data(),
		Journal:           o.journal,
		Home:              g.env.Home,
		Env:               g.env.forChildren(),
		SelfExe:           g.env.Exe,
		AllowedHosts:      o.allowHosts,
		CORS:              o.cors,
		RegistryURL:       o.registry,
		RequirePreinstall: o.requirePreinstall || truthy(g.env.lookup("SANDBOX_AGENT_REQUIRE_PREINSTALL")),
		Ballast:           16 << 20,
		Logger:            log,
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return cfg, fmt.Errorf("make data directory: %w; name another with --data-dir or $XDG_DATA_HOME", err)
	}
	if o.workDir != "" {
		cfg.WorkDir = g.path(o.workDir)
	}
	cfg.AgentStore = g.env.lookup(api.EnvAgentStore)
	if cfg.RegistryURL == "" {
		cfg.RegistryURL = g.env.lookup("SANDBOX_AGENT_ACP_REGISTRY_URL")
	}
	err := checkCORS(o.cors)
	if err != nil {
		return cfg, err
	}
	if o.requestTimeout < 0 || o.shutdownTimeout < 0 {
		return cfg, usagef("a timeout cannot be negative")
	}
	if cfg.Limits, err = parseLimits(o.limits); err != nil {
		return cfg, err
	}
	cfg.Limits.RequestTimeoutMs = cmp.Or(o.requestTimeout.Milliseconds(), cfg.Limits.RequestTimeoutMs)
	cfg.Limits.ShutdownTimeoutMs = cmp.Or(o.shutdownTimeout.Milliseconds(), cfg.Limits.ShutdownTimeoutMs)
	if ms := g.env.lookup("SANDBOX_AGENT_ACP_REQUEST_TIMEOUT_MS"); ms != "" && cfg.Limits.RequestTimeoutMs == 0 {
		n, err := strconv.ParseInt(ms, 10, 64)
		if err != nil || n <= 0 {
			return cfg, usagef("SANDBOX_AGENT_ACP_REQUEST_TIMEOUT_MS is %q; use a number of milliseconds", ms)
		}
		cfg.Limits.RequestTimeoutMs = n
	}
	if cfg.AgentCommands, err = parseAgentCommands(o.agentCommands); err != nil {
		return cfg, err
	}
	if cfg.Token, err = g.serverToken(o); err != nil {
		return cfg, err
	}
	switch {
	case cfg.Token != "" && !isLoopback(o.host) && len(cfg.Token) < safeToken:
		log.Warn("the token is short: others may guess it, as nothing slows them down; take at least 16 random characters", "host", o.host)
	case cfg.Token != "":
	case isLoopback(o.host) && !g.noToken:
		log.Warn("no token: every program on this machine can use the server; give --token, $SANDBOX_AGENT_TOKEN or --token-file, or say --no-token")
	case !isLoopback(o.host):
		if !g.noToken {
			return cfg, usagef("refusing to listen on %s without a token: others could run commands here; give --token, $SANDBOX_AGENT_TOKEN or --token-file, or say --no-token", o.host)
		}
		// A server that is open to a network has names there that we cannot know.
		cfg.AllowedHosts = append(cfg.AllowedHosts, "*")
		log.Warn("open to the network without a token", "host", o.host)
	}
	return cfg, nil
}

// safeToken is how many random characters nobody guesses, at the some ten thousand
// attempts that a server answers in a second.
const safeToken = 16

// serverToken returns the token of the server: flag, file, environment. A token
// wins over --no-token, as it did in the earlier server.
func (g *globals) serverToken(o *serverOptions) (string, error) {
	if o.tokenFile == "" || g.token != "" {
		return g.bearer(), nil
	}
	data, err := readTokenFile(o.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", usagef("token file %s is empty", o.tokenFile)
	}
	return token, nil
}

// readTokenFile reads a file, or the descriptor fd:N to its end, which it closes: what
// this server starts does not inherit it.
func readTokenFile(name string) ([]byte, error) {
	number, given := strings.CutPrefix(name, "fd:")
	fd, err := strconv.Atoi(number)
	if !given || err != nil {
		return os.ReadFile(name)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return io.ReadAll(file)
}

// open makes the socket that the server accepts from, or takes the one that was
// handed over.
func (o *serverOptions) open() (net.Listener, error) {
	kind, rest, _ := strings.Cut(o.listen, ":")
	switch {
	case o.listen == "":
		return listen(o.host, o.port)
	case kind == "unix" && rest != "":
		return listenUnix(rest)
	case kind == "fd":
		fd, err := strconv.Atoi(rest)
		if err != nil || fd < 3 {
			return nil, usagef("--listen %s: a descriptor is a number from 3 on", o.listen)
		}
		file := os.NewFile(uintptr(fd), "listener")
		defer file.Close()
		listener, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("listen on descriptor %d, which is to be a socket: %w", fd, err)
		}
		return listener, nil
	}
	return nil, usagef("--listen %s: use unix:PATH or fd:N", o.listen)
}

// listenUnix makes a socket that only this user can connect to. One that a server
// left behind that does not run any more is replaced.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: a server answers there; stop it, or choose another path", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

func listen(host string, port uint16) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(int(port)))
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d on %s is in use; choose another with --port, or --port 0 for a free one", port, host)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

var httpToken = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// checkCORS refuses what no browser sends, since it would allow nothing.
func checkCORS(c httpkit.CORS) error {
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if origin != "*" && origin != "null" && (err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
			return fmt.Errorf("invalid cors origin: %q is not of the form https://host:port; * is any", origin)
		}
	}
	for _, method := range c.Methods {
		if !httpToken.MatchString(method) {
			return fmt.Errorf("invalid cors method: %q", method)
		}
	}
	for _, header := range c.Headers {
		if !httpToken.MatchString(header) {
			return fmt.Errorf("invalid cors header: %q", header)
		}
	}
	return nil
}

func truthy(s string) bool { return s == "1" || s == "true" || s == "yes" }

// parseLimits reads NAME=VALUE pairs, where the names are those of the wire.
func parseLimits(pairs []string) (api.Limits, error) {
	var limits api.Limits
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil || n <= 0 {
			return limits, usagef("--limit %q is not of the form NAME=VALUE with a number over zero", pair)
		}
		d := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %d}", name, n)))
		d.DisallowUnknownFields()
		if err := d.Decode(&limits); err != nil {
			return limits, usagef("--limit %q: there is no such limit, or the value is too large", pair)
		}
	}
	return limits, nil
}

// parseAgentCommands reads ID=COMMAND ARG... pairs. The command is split as a shell does, but
// nothing is expanded; one that needs more goes into a script.
func parseAgentCommands(pairs []string) (map[string][]string, error) {
	commands := make(map[string][]string, len(pairs))
	for _, pair := range pairs {
		id, command, ok := strings.Cut(pair, "=")
		if !ok || id == "" {
			return nil, usagef("--agent-command %q is not of the form ID=COMMAND ARG...", pair)
		}
		words, err := shellwords.Split(command)
		if err != nil {
			return nil, usagef("--agent-command %s: %v", id, err)
		}
		if len(words) == 0 {
			return nil, usagef("--agent-command %q has no command; it is of the form ID=COMMAND ARG...", pair)
		}
		commands[id] = words
	}
	return commands, nil
}

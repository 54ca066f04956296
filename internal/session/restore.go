package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
)

// setupTimeout bounds one request with which an agent is made ready. A cold
// agent on a busy machine takes half a minute for the first one.
const setupTimeout = 2 * time.Minute

// open returns the connection on which the agent has the session open, after
// starting and restoring it where that is not so. It takes the opening token;
// the caller gives it back with unlock, unless there is an error.
func (s *session) open(ctx context.Context) (*link, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	l, err := s.ready(ctx)
	if err != nil {
		s.unlock()
		return nil, err
	}
	return l, nil
}

// ready is open for who holds the opening token.
func (s *session) ready(ctx context.Context) (*link, error) {
	s.mu.Lock()
	l, gone, outgrown := s.link, s.rec.DestroyedAt != 0, s.outgrown()
	s.mu.Unlock()
	switch {
	case gone:
		return nil, destroyed(s.id)
	case outgrown:
		if err := s.halt(ctx, "has to ask for more"); err != nil {
			return nil, err
		}
		return s.attach(ctx)
	case l == nil:
		return s.attach(ctx)
	}
	return l, nil
}

// attach starts an agent of the session's own and opens the session there. The
// caller holds the opening token.
func (s *session) attach(ctx context.Context) (l *link, err error) {
	s.mu.Lock()
	s.starting = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.starting, s.failed = false, err != nil && !errors.Is(err, context.Canceled)
		if s.failed {
			s.rec.Reason = err.Error()
		}
		s.mu.Unlock()
		s.changed()
	}()
	if err = s.mayStart(); err != nil {
		return nil, err
	}
	l = s.m.link(s.server(), s.rec.Agent)
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	if err = s.establish(ctx, l); err != nil {
		// Half of an opened session would be in the way of the next try.
		if stopErr := s.halt(context.WithoutCancel(ctx), "could not be opened"); stopErr != nil {
			s.m.log.Warn("stop agent", "session", s.id, "error", stopErr)
		}
		return nil, err
	}
	return l, nil
}

func (s *session) launch(ctx context.Context) error {
	s.mu.Lock()
	env, err := s.environ()
	place := bridge.Place{Dir: cmp.Or(s.rec.CWD, s.m.cfg.CWD), Env: env, Volatile: s.rec.Ephemeral}
	if err == nil && s.asks == asksAlways {
		place.Args, err = s.m.cfg.Agents.AskArgs(s.rec.Agent)
	}
	s.mu.Unlock()
	if err != nil {
		return api.AgentCannotAsk(s.rec.Agent, err.Error())
	}
	if info, err := os.Stat(place.Dir); err != nil || !info.IsDir() {
		e := api.InvalidRequest(api.CodePathNotFound, "start the agent of session %s: its working directory %s is not there; create it again, or start another session", s.id, place.Dir)
		e.SessionID = s.id
		return e.With("path", place.Dir)
	}
	err = s.m.bridge.Start(ctx, s.server(), s.rec.Agent, place)
	if errors.Is(err, api.CodeLimitExceeded) && s.m.makeRoom() {
		err = s.m.bridge.Start(ctx, s.server(), s.rec.Agent, place)
	}
	return err
}

// establish makes a started agent know the session, by the best way it has.
func (s *session) establish(ctx context.Context, l *link) error {
	var info acp.InitializeResult
	err := s.call(ctx, l, nil, acp.MethodInitialize, acp.InitializeRequest{
		ProtocolVersion: acp.ProtocolVersion,
		ClientCapabilities: acp.ClientCapabilities{
			Session: &acp.ClientSessionCapabilities{ConfigOptions: acp.ClientConfigOptions{Boolean: acp.Present}},
		},
		ClientInfo: &acp.Implementation{Name: "sandbox-agent", Title: "Sandbox Agent", Version: s.m.cfg.Version},
	}, &info)
	if err != nil {
		return err
	}
	s.mu.Lock()
	sid, created := s.rec.AgentSessionID, s.rec.AgentSessionID != ""
	s.mu.Unlock()
	how := ""
	if created {
		if how, err = s.reopen(ctx, l, info, sid); err != nil {
			return err
		}
	}
	if how == "" {
		if err := s.begin(ctx, l, info); err != nil {
			return err
		}
	}
	if created {
		s.restored(how)
	}
	if err := s.startMode(ctx, l, created); err != nil || !created {
		return err
	}
	s.chooseAgain(ctx, l)
	return nil
}

// reopen tries the ways in which an agent goes on with a session of its own. It
// returns which one did it; none is no error.
func (s *session) reopen(ctx context.Context, l *link, info acp.InitializeResult, sid string) (string, error) {
	for _, way := range []struct {
		has         bool
		method, how string
	}{
		{len(info.AgentCapabilities.SessionCapabilities.Resume) > 0, acp.MethodSessionResume, api.RestoredResumed},
		{info.AgentCapabilities.LoadSession, acp.MethodSessionLoad, api.RestoredLoaded},
	} {
		if !way.has {
			continue
		}
		params, err := s.params(sid)
		if err != nil {
			return "", err
		}
		err = s.call(ctx, l, s, way.method, params, nil)
		if err == nil {
			return way.how, s.awaitReplay(ctx)
		}
		if !errors.Is(err, api.CodeAgentError) {
			return "", err
		}
		s.m.log.Info("agent cannot go on with its session", "session", s.id, "method", way.method, "error", err)
	}
	return "", nil
}

// begin opens a new session of the agent, signing in where that is asked for.
func (s *session) begin(ctx context.Context, l *link, info acp.InitializeResult) error {
	params, err := s.params("")
	if err != nil {
		return err
	}
	err = s.call(ctx, l, s, acp.MethodSessionNew, params, nil)
	if method := signIn(info, s.m.cfg.Agents.SignIn(s.rec.Agent)); method != "" && rpcCode(err) == acp.CodeAuthRequired {
		if err := s.call(ctx, l, nil, acp.MethodAuthenticate, acp.AuthenticateRequest{MethodID: method}, nil); err != nil {
			return err
		}
		err = s.call(ctx, l, s, acp.MethodSessionNew, params, nil)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return agentError(s.rec.Agent, acp.MethodSessionNew, acp.Errorf(acp.CodeInternalError, "the answer has no sessionId"))
	}
	return nil
}

// signIn returns the first of the methods that an agent offers, or nothing.
func signIn(info acp.InitializeResult, methods []string) string {
	for _, id := range methods {
		for _, method := range info.AuthMethods {
			if method.ID == id {
				return id
			}
		}
	}
	return ""
}

// params returns the parameters with which the session is opened.
func (s *session) params(sid string) (json.RawMessage, error) {
	servers, err := s.servers()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	cwd, always := s.rec.CWD, s.asks == asksAlways
	s.mu.Unlock()
	if cwd == "" {
		cwd = s.m.cfg.CWD
	}
	raw, err := json.Marshal(struct {
		SessionID  string          `json:"sessionId,omitempty"`
		CWD        string          `json:"cwd"`
		MCPServers []acp.MCPServer `json:"mcpServers"`
	}{sid, cwd, servers})
	if err == nil && always {
		raw, err = s.m.cfg.Agents.AskParams(s.rec.Agent, raw)
	}
	return raw, err
}

// restored notes how the session came back; "" is by a new session of the agent.
func (s *session) restored(how string) {
	r := &api.SessionRestored{How: how, At: time.Now().UnixMilli()}
	s.mu.Lock()
	if how == "" {
		r.How, s.rec.Primer = api.RestoredPrimed, true
		if c := s.rec.Usage.Cost; c != nil {
			s.rec.SpentBefore = c.Amount
		}
	}
	s.rec.Restored = r
	s.mu.Unlock()
	s.notify(api.EventSessionRestored, r)
	s.m.log.Info("session restored", "session", s.id, "how", r.How)
}

// call sends a request of ours and reads its answer. A request that opens a
// session says which. What the agent refuses is a problem of the code
// agent_error.
func (s *session) call(ctx context.Context, l *link, opens *session, method string, params, result any) error {
	id := s.m.callID()
	frame, err := acp.RequestFrame(id, method, params)
	if err != nil {
		return err
	}
	if opens != nil {
		l.expect(id, opens)
		defer l.unexpect(id)
	}
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	reply, err := s.m.bridge.Post(ctx, l.id, "", false, frame)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = api.NewError(api.KindTimeout, "", "timeout: no reply to %s within setupTimeoutMs (%d)", method, setupTimeout.Milliseconds())
		}
		return err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *acp.RPCError   `json:"error"`
	}
	if err := json.Unmarshal(reply, &answer); err != nil {
		return agentError(s.rec.Agent, method, acp.Errorf(acp.CodeInternalError, "the answer cannot be read: %v", err))
	}
	if answer.Error != nil {
		return agentError(s.rec.Agent, method, answer.Error)
	}
	if result == nil || len(answer.Result) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return agentError(s.rec.Agent, method, acp.Errorf(acp.CodeInternalError, "the answer cannot be read: %v", err))
	}
	return nil
}

// rpcCode returns the code with which the agent refused, or 0.
func rpcCode(err error) int {
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeAgentError {
		return 0
	}
	code, _ := e.Details["rpcCode"].(int)
	return code
}

// detach gives up a connection whose agent has ended, and waits until it is
// wholly gone.
func (s *session) detach(ctx context.Context, l *link) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.leave(ctx, l)
}

// leave is detach for who holds the opening token.
func (s *session) leave(ctx context.Context, l *link) error {
	if l.id == s.server() {
		if err := s.m.bridge.Stop(ctx, l.id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.link == l {
		s.link = nil
	}
	s.mu.Unlock()
	return nil
}

// chooseAgain gives a new agent the settings that clients have made before. One
// that does not take them any more goes on with its own.
func (s *session) chooseAgain(ctx context.Context, l *link) {
	s.mu.Lock()
	chosen := maps.Clone(s.rec.Chosen)
	s.mu.Unlock()
	delete(chosen, chosenMode)                             // startMode has seen to it
	for _, key := range slices.Sorted(maps.Keys(chosen)) { // the model before what depends on it
		value := chosen[key]
		if err := s.setAgain(ctx, l, key, value); err != nil {
			s.m.log.Warn("setting is lost", "session", s.id, "setting", key, "value", value, "error", err)
		}
	}
}

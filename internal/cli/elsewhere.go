package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// A home is where sessions are kept: a data directory, or the journal of a run
// alongside a server that has ended.
type home struct {
	dir     string
	journal string
}

// homes returns the data directory, those that servers alongside fell back to, and
// the journals of runs that no server has taken in yet.
func (g *globals) homes() []home {
	var list []home
	for _, dir := range append([]string{g.data()}, dataDirsIn(g.alongside())...) {
		list = append(list, home{dir, filepath.Join(dir, journalName)})
	}
	runs, _ := filepath.Glob(filepath.Join(g.runs(), "*.db"))
	for _, name := range runs {
		list = append(list, home{g.data(), name})
	}
	return list
}

// errNoHome means that nothing is kept at a home, or that another program holds it
// that is no server.
var errNoHome = errors.New("no sessions are kept there")

// opened is a home with a client of its server.
type opened struct {
	home
	client *sandboxagent.Client
	url    string // empty where the server is inside this program
	close  func()
}

// open returns a client of the server of a home: of the one that runs, else of one
// inside this program. Close it when the command ends.
func (g *globals) open(ctx context.Context, h home) (opened, error) {
	if _, err := os.Stat(h.journal); errors.Is(err, fs.ErrNotExist) {
		return opened{}, errNoHome
	}
	if sqlite.Held(h.journal) {
		return g.openRunning(ctx, h)
	}
	cfg, err := g.insideConfig(&serverOptions{})
	if err != nil {
		return opened{}, err
	}
	if _, err := os.Stat(h.journal); errors.Is(err, fs.ErrNotExist) {
		return opened{}, errNoHome // a run that was taken in just now
	}
	cfg.DataDir, cfg.AgentsDir, cfg.Journal = h.dir, g.data(), h.journal
	cfg.Limits.JournalRetentionDays = math.MaxInt32 // what its server keeps is not known here
	inside, err := g.openInside(cfg)
	if errors.Is(err, api.CodeDataLocked) {
		return g.openRunning(ctx, h)
	}
	if err != nil {
		return opened{}, fmt.Errorf("open the sessions of %s: %w", h.journal, err)
	}
	return opened{home: h, client: inside.client, close: inside.stop}, nil
}

func (g *globals) openRunning(ctx context.Context, h home) (opened, error) {
	url := publishedIn(h.dir)
	if url == "" || filepath.Base(h.journal) != journalName {
		return opened{}, errNoHome
	}
	client := g.dialTo(url)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := client.Version(ctx)
	switch {
	case unauthorized(err):
		err = fmt.Errorf("the server at %s, whose sessions are in %s, requires its token; give it with --token or $SANDBOX_AGENT_TOKEN", url, h.dir)
	case err == nil && !sameDirectory(v.DataDir, h.dir):
		err = errNoHome // another server has the port of one that is gone
	case err == nil:
		return opened{h, client, url, func() { client.Close() }}, nil
	}
	client.Close()
	return opened{}, err
}

// allSessions returns the sessions of all homes, the newest first, and reports the
// homes that cannot be read.
func (g *globals) allSessions(ctx context.Context, filter sandboxagent.SessionFilter) ([]keptSession, error) {
	list := []keptSession{}
	for _, h := range g.homes() {
		o, err := g.open(ctx, h)
		if errors.Is(err, errNoHome) {
			continue
		}
		if err == nil {
			for s, failed := range o.client.Sessions(ctx, filter) {
				if failed != nil {
					err = failed
					break
				}
				list = append(list, keptSession{s, h.dir, o.url})
			}
			o.close()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			fmt.Fprintf(g.env.Err, "sandbox-agent: not listed: %v\n", err)
		}
	}
	slices.SortStableFunc(list, func(a, b keptSession) int { return int(min(1, max(-1, b.UpdatedAt-a.UpdatedAt))) })
	return list, nil
}

// A keptSession is a session and where it is.
type keptSession struct {
	api.Session
	DataDir string `json:"dataDir"`
	URL     string `json:"url,omitempty"` // of its server, if one runs
}

// findElsewhere returns the session that a user means from another home than that of
// a client, or nil. Its client is closed when the command ends.
func (g *globals) findElsewhere(ctx context.Context, not *sandboxagent.Client, id string) (*sandboxagent.Session, error) {
	for _, h := range g.homes() {
		o, err := g.open(ctx, h)
		if err != nil {
			continue
		}
		if o.url == not.BaseURL() {
			o.close()
			continue
		}
		session, found, err := findOn(ctx, o.client, id)
		if err != nil || !found {
			o.close()
			if err != nil {
				return nil, err
			}
			continue
		}
		g.atEnd = append(g.atEnd, o.close)
		where := "where no server runs"
		if o.url != "" {
			where = "the server is " + o.url
		}
		fmt.Fprintf(g.env.Err, "sandbox-agent: the session is in %s; %s\n", h.dir, where)
		return session, nil
	}
	return nil, nil
}

// undialled reports whether an error is that no server answers.
func undialled(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

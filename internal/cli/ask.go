package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
)

// asker answers the questions of an agent: by --yes, by whoever sits at the
// terminal, or by the rule for when nobody does.
type asker struct {
	g       *globals
	view    *view
	cwd     string
	yes     bool
	in      *bufio.Reader
	unasked bool // something was rejected because nobody could be asked
}

func (a *asker) decide(ctx context.Context, req *sandboxagent.PermissionRequest) sandboxagent.Reply {
	switch {
	case a.yes:
		return sandboxagent.Once
	case a.g.env.InTerminal && a.g.env.ErrTerminal && !a.g.json:
		return a.ask(ctx, req)
	case a.harmless(req.ToolCall):
		return sandboxagent.Once
	}
	a.unasked = true
	return sandboxagent.Reject
}

// harmless reports whether a call only reads, or changes files below the
// working folder and says which.
func (a *asker) harmless(call acp.ToolCall) bool {
	switch call.Kind {
	case acp.ToolRead, acp.ToolSearch, acp.ToolThink:
		return true
	case acp.ToolEdit, acp.ToolDelete, acp.ToolMove:
	default:
		return false
	}
	var paths []string
	for _, l := range call.Locations {
		paths = append(paths, l.Path)
	}
	for _, c := range call.Content {
		if c.Path != "" {
			paths = append(paths, c.Path)
		}
	}
	folder, err := resolved(a.cwd)
	if err != nil {
		return false
	}
	below := func(path string) bool {
		if !filepath.IsAbs(path) {
			path = filepath.Join(a.cwd, path)
		}
		real, err := resolved(path)
		if err != nil {
			return false
		}
		rel, err := filepath.Rel(folder, real)
		return err == nil && filepath.IsLocal(rel)
	}
	return len(paths) > 0 && !slices.ContainsFunc(paths, func(p string) bool { return !below(p) })
}

// resolved returns a path without links, of which the last parts need not be
// there. A link to nowhere is an error.
func resolved(path string) (string, error) {
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if _, there := os.Lstat(path); there == nil || path == filepath.Dir(path) {
			return "", err
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

// ask asks on the terminal until the answer is understood. The end of the input
// means no.
func (a *asker) ask(ctx context.Context, req *sandboxagent.PermissionRequest) sandboxagent.Reply {
	if a.in == nil {
		a.in = bufio.NewReader(a.g.env.In)
	}
	choices := "[y]es, [n]o"
	always := slices.Contains(req.Replies(), sandboxagent.Always)
	if always {
		choices = "[y]es, [a]lways, [n]o"
	}
	for {
		a.view.question(fmt.Sprintf("Allow %s? %s: ", describeCall(req.ToolCall), choices))
		answer := make(chan string, 1)
		go func() {
			line, err := a.in.ReadString('\n')
			if err != nil && line == "" {
				line = "n"
			}
			answer <- line
		}()
		select {
		case <-ctx.Done():
			return sandboxagent.NoReply
		case line := <-answer:
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "y", "yes":
				return sandboxagent.Once
			case "a", "always":
				if always {
					return sandboxagent.Always
				}
			case "n", "no":
				return sandboxagent.Reject
			}
		}
	}
}

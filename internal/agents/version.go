package agents

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// probeTimeout bounds each question for a version, and nothing waits longer.
const probeTimeout = 3 * time.Second

// probe is what was found out about the program of an agent. A program that is
// not there or does not tell gives an empty version, which is kept as well.
type probe struct {
	path, version string
	err           string
}

// probe returns the program and version of an agent. The answer is kept until
// an install, or until fresh is set.
func (c *Catalogue) probe(ctx context.Context, a Agent, fresh bool) probe {
	c.mu.Lock()
	p, ok := c.probes[a.ID]
	c.mu.Unlock()
	if ok && !fresh {
		return p
	}
	p = c.probeNow(ctx, a)
	if ctx.Err() == nil {
		c.mu.Lock()
		c.probes[a.ID] = p
		c.mu.Unlock()
	}
	return p
}

func (c *Catalogue) forget(a Agent) {
	c.mu.Lock()
	delete(c.probes, a.ID)
	c.mu.Unlock()
}

func (c *Catalogue) probeNow(ctx context.Context, a Agent) probe {
	f, found := c.find(a)
	switch {
	case found && f.source == api.AgentFromCommand:
		return probe{path: f.path} // it may be anything, and is only for what it was configured for
	case found && a.Builtin != nil:
		return probe{path: c.nativeFile(a), version: "builtin"}
	}
	if rec, ok := c.installed(a); ok {
		return probe{path: rec.program(), version: rec.Version}
	}
	path, ok := c.native(a)
	switch {
	case !ok && !found:
		return probe{}
	case !ok:
		path = f.path
	}
	version, err := c.askVersion(ctx, path)
	p := probe{path: path, version: version}
	if err != nil {
		p.err = fmt.Sprintf("ask %s for its version: %v", path, err)
	}
	return p
}

// askVersion asks a program for its version in the three usual ways.
func (c *Catalogue) askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var last error
	for _, arg := range []string{"--version", "version", "-V"} {
		o, err := run(ctx, child.Spec{Path: path, Args: []string{arg}, Env: installEnv(c.cfg.Env), User: c.cfg.User}, nil)
		if ctx.Err() != nil {
			return "", fmt.Errorf("no answer within %v", probeTimeout)
		}
		if err != nil {
			last = err
			continue
		}
		if lines := o.all(); len(lines) > 0 {
			version, _, _ := strings.Cut(strings.TrimSpace(lines[0]), " (")
			return version, nil
		}
	}
	return "", last
}

// nativeFile is where the vendor's program is in the data directory.
func (c *Catalogue) nativeFile(a Agent) string {
	name := a.Native
	if name == "" {
		name = a.ID
	}
	return filepath.Join(c.binDir(), name)
}

// native finds the vendor's own program: in the data directory, else on PATH.
func (c *Catalogue) native(a Agent) (string, bool) {
	if a.Native == "" {
		return "", false
	}
	if path := c.nativeFile(a); executable(path) {
		return path, true
	}
	return c.lookPath(a.Native)
}

// olderThan compares two versions by their leading numbers, as far as floor has
// them. A version that cannot be read counts as old.
func olderThan(version, floor string) bool {
	have := strings.Split(strings.TrimPrefix(version, "v"), ".")
	for i, want := range strings.Split(floor, ".") {
		w, _ := strconv.Atoi(want)
		if i >= len(have) {
			return true
		}
		h, err := strconv.Atoi(have[i])
		if err != nil || h < w {
			return true
		}
		if h > w {
			return false
		}
	}
	return false
}

package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/lazyregexp"
)

const (
	registryTimeout = 10 * time.Second
	maxRegistry     = 8 << 20 // bytes
)

// registryEntry is one agent of an ACP registry document, as far as we use it:
// the distribution by npm. The other kinds name archives without checksums.
type registryEntry struct {
	ID           string `json:"id"`
	Version      string `json:"version"`
	Distribution struct {
		NPX *struct {
			Package string            `json:"package"`
			Args    []string          `json:"args"`
			Env     map[string]string `json:"env"`
		} `json:"npx"`
	} `json:"distribution"`
}

// plan is what an install will put in place.
type plan struct {
	packages []Package // the one with the program first
	locked   bool      // they are exactly what the lock of the agent holds
	args     []string
	env      map[string]string
	source   string // of the [api.AgentArtifact]
}

// fromRegistry makes a plan from the registry's entry for an agent.
func (c *Catalogue) fromRegistry(ctx context.Context, a Agent) (*plan, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	data, err := readRegistry(ctx, c.cfg.Registry)
	if err != nil {
		return nil, err
	}
	entry, err := parseRegistry(data, a.RegistryID)
	if err != nil {
		return nil, err
	}
	npx := entry.Distribution.NPX
	pkg, err := parsePackage(npx.Package, entry.Version)
	if err != nil {
		return nil, err
	}
	for key := range npx.Env {
		if !validVariable().MatchString(key) {
			return nil, fmt.Errorf("entry %s sets %q, which is no variable", entry.ID, key)
		}
	}
	return &plan{packages: []Package{pkg}, args: npx.Args, env: npx.Env}, nil
}

func readRegistry(ctx context.Context, source string) ([]byte, error) {
	u, err := url.Parse(source)
	if err != nil || u.Scheme == "" || u.Scheme == "file" {
		path := source
		if err == nil && u.Scheme == "file" {
			path = u.Path
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAtMost(f, maxRegistry)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return readAtMost(resp.Body, maxRegistry)
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return data, err
}

// parseRegistry finds the entry with an id that npm can install.
func parseRegistry(data []byte, id string) (*registryEntry, error) {
	var doc struct {
		Agents []registryEntry `json:"agents"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read registry document: %w", err)
	}
	for i, entry := range doc.Agents {
		if entry.ID != id || id == "" {
			continue
		}
		if entry.Distribution.NPX == nil {
			return nil, fmt.Errorf("its entry %s has no npm package", id)
		}
		return &doc.Agents[i], nil
	}
	return nil, fmt.Errorf("it has no entry %q", id)
}

var (
	validVersion  = lazyregexp.New(`^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$`)
	validPackage  = lazyregexp.New(`^(@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*$`)
	validVariable = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// parsePackage reads "name@version". npm would also take directories and URLs; they
// are refused. Without a version it is the given one.
func parsePackage(spec, version string) (Package, error) {
	name := spec
	if i := strings.LastIndexByte(spec, '@'); i > 0 {
		name, version = spec[:i], spec[i+1:]
	}
	if !validPackage().MatchString(name) || !validVersion().MatchString(version) {
		return Package{}, fmt.Errorf("package %q is not a name and a version", spec)
	}
	return Package{Name: name, Version: version}, nil
}

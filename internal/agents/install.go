package agents

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// verifyTimeout is how long a new launcher may take to print its help. One that
// is still running then has started, which is enough.
const verifyTimeout = 20 * time.Second

// Install installs an agent, in versions that are pinned here or asked for, and
// reports what it does to progress, which may be nil and is called by one
// goroutine at a time. One install of an agent runs at a time, also among
// programs that share the data directory; the others wait and then find it done.
// An install that fails, or is killed, leaves what was there before.
//
// The problems are unsupported_agent, invalid_request for a version that is
// none, and install_failed.
func (c *Catalogue) Install(ctx context.Context, id string, req api.AgentInstallRequest, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error) {
	a, err := c.Agent(id)
	if err != nil {
		return nil, err
	}
	for _, version := range []string{req.AgentVersion, req.AgentProcessVersion} {
		if version != "" && !validVersion().MatchString(version) {
			return nil, api.InvalidRequest(api.CodeInvalidVersion, "%q is not a version such as 1.2.3", version)
		}
	}
	return c.install(ctx, &install{a: a, req: req}, progress)
}

// Share installs an agent for sandboxes, which run it from the store, with a Node.js
// that is there too. One that is there already stays, and so does what this user runs
// in its place. Progress and problems are those of [Catalogue.Install].
func (c *Catalogue) Share(ctx context.Context, id string, progress func(api.AgentInstallEvent)) error {
	a, err := c.Agent(id)
	if err != nil || a.Builtin != nil { // a server brings that one itself
		return err
	}
	_, err = c.install(ctx, &install{a: a, share: true}, progress)
	return err
}

func (c *Catalogue) install(ctx context.Context, in *install, progress func(api.AgentInstallEvent)) (*api.AgentInstallResult, error) {
	c.installs.RLock()
	defer c.installs.RUnlock()
	in.c = c
	in.report = func(phase, message string) {
		c.log.Debug("install agent", "agent", in.a.ID, "phase", phase, "message", message)
		if progress != nil {
			progress(api.AgentInstallEvent{Agent: in.a.ID, Phase: phase, Message: message})
		}
	}
	var result *api.AgentInstallResult
	err := c.cfg.User.Do(func() (err error) {
		result, err = in.run(ctx)
		return err
	})
	if err != nil {
		var problem *api.Error
		if errors.As(err, &problem) {
			return nil, problem
		}
		return nil, api.InstallFailed(in.a.ID, err.Error())
	}
	return result, nil
}

// install is one run of [Catalogue.Install], or of [Catalogue.Share].
type install struct {
	c      *Catalogue
	a      Agent
	req    api.AgentInstallRequest
	share  bool
	report func(phase, message string)
}

func (in *install) run(ctx context.Context) (*api.AgentInstallResult, error) {
	done := &api.AgentInstallResult{AlreadyInstalled: true, Artifacts: []api.AgentArtifact{}}
	if in.satisfied() {
		return done, nil
	}
	c, a := in.c, in.a
	if a.Builtin == nil && len(a.Packages) == 0 && c.cfg.Registry == "" {
		return nil, fmt.Errorf("nothing is known to install for it: %s", c.remedy(a))
	}
	lock, err := in.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if in.satisfied() {
		return done, nil
	}
	defer c.forget(a)
	if a.Builtin != nil {
		return in.builtin()
	}
	rec, stored := inStore(c.storeDir(), a)
	if !in.share || !stored {
		p, err := in.plan(ctx)
		if err != nil {
			return nil, err
		}
		if rec, err = in.packages(ctx, p); err != nil {
			return nil, err
		}
	}
	if in.share && rec.script() {
		if _, err := c.ensureNode(ctx, "sandboxes do not see every Node.js of this machine", in.report); err != nil {
			return nil, err
		}
	}
	return in.result(rec), nil
}

// satisfied reports whether what is asked for is there.
func (in *install) satisfied() bool {
	if in.share {
		rec, ok := inStore(in.c.storeDir(), in.a)
		return ok && (!rec.script() || in.c.hasNode())
	}
	if in.req.Reinstall {
		return false
	}
	f, ok := in.c.find(in.a)
	if !ok || f.source == api.AgentBuiltin {
		return false
	}
	return in.req.AgentVersion == "" && in.req.AgentProcessVersion == "" || in.hasVersions()
}

func (in *install) hasVersions() bool {
	rec, ok := in.c.installed(in.a)
	if !ok {
		return false
	}
	have := strings.Join(rec.Packages, " ") + " "
	for _, version := range []string{in.req.AgentVersion, in.req.AgentProcessVersion} {
		if version != "" && !strings.Contains(have, "@"+version+" ") {
			return false
		}
	}
	return true
}

func (in *install) lock(ctx context.Context) (*filelock.Lock, error) {
	dir := in.c.processDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return filelock.Acquire(ctx, filepath.Join(dir, "."+in.a.ID+".lock"), func() {
		in.report("wait", "another install of "+in.a.Name+" is under way")
	})
}

// builtin writes the launcher of the agent that is this program.
func (in *install) builtin() (*api.AgentInstallResult, error) {
	c, path := in.c, in.c.launcher(in.a)
	if c.cfg.SelfExe == "" {
		return nil, errors.New(c.missing(in.a))
	}
	var args strings.Builder
	for _, arg := range in.a.Builtin {
		args.WriteString(" " + shellwords.Quote(arg))
	}
	// The server says where it is, and may have moved since.
	script := "#!/bin/sh\nexec \"${SANDBOX_AGENT_BIN:-" + escapeDefault(c.cfg.SelfExe) + "}\"" + args.String() + " \"$@\"\n"
	if err := atomicfile.Write(path, []byte(script), atomicfile.Options{Mode: 0o755}); err != nil {
		return nil, err
	}
	version := "builtin"
	return &api.AgentInstallResult{Artifacts: []api.AgentArtifact{
		{Kind: api.ArtifactAgentProcess, Path: path, Source: api.ArtifactFromBuiltin, Version: &version},
	}}, nil
}

// escapeDefault escapes a string for the inside of "${V:-...}".
func escapeDefault(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", "}", `\}`).Replace(s)
}

// plan decides what to install: what the registry says when there is one, else
// the pinned packages; in the versions that were asked for.
func (in *install) plan(ctx context.Context) (*plan, error) {
	a := in.a
	p := &plan{packages: append([]Package(nil), a.Packages...), locked: a.Lock.covers(platform()), args: a.Args, source: api.ArtifactFromFallback}
	if source := in.c.cfg.Registry; source != "" {
		in.report("resolve", "asking the registry "+source)
		r, err := in.c.fromRegistry(ctx, a)
		switch {
		case err == nil:
			p = r
			p.source = api.ArtifactFromRegistry
			p.packages = append(p.packages, natives(a.Packages)...)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case len(a.Packages) == 0:
			return nil, fmt.Errorf("the registry %s is of no help (%w), and no package is pinned: check the registry, or %s", source, err, in.c.remedy(a))
		default:
			in.c.log.Warn("registry is of no help, using the pinned package", "registry", source, "agent", a.ID, "error", err)
			in.report("resolve", fmt.Sprintf("the registry %s is of no help (%v): using the pinned package", source, err))
		}
	}
	in.override(p)
	return p, nil
}

func natives(packages []Package) []Package {
	var n []Package
	for _, p := range packages[min(1, len(packages)):] {
		if p.Native {
			n = append(n, p)
		}
	}
	return n
}

// override puts the versions that were asked for into the plan.
func (in *install) override(p *plan) {
	if v := in.req.AgentProcessVersion; v != "" && p.packages[0].Version != v {
		p.packages[0].Version, p.locked = v, false
	}
	v := in.req.AgentVersion
	if v == "" {
		return
	}
	for i := range p.packages {
		// The program that speaks ACP may be the vendor's own.
		own := i == 0 && in.a.Command == in.a.Native && in.req.AgentProcessVersion == ""
		if (p.packages[i].Native || own) && p.packages[i].Version != v {
			p.packages[i].Version, p.locked = v, false
		}
	}
	if in.a.NativePackage != "" {
		p.packages = append(p.packages, Package{Name: in.a.NativePackage, Version: v, Native: true, Scripts: true})
		p.locked = false
	}
}

// packages installs a plan into a directory of its own in the store and puts the
// launcher that names the directory in place.
func (in *install) packages(ctx context.Context, p *plan) (*record, error) {
	c, a := in.c, in.a
	root := filepath.Join(c.storeDir(), a.ID)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(root, p.packages[0].Version+"-")
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	node, err := c.node(ctx, a, in.report)
	if err != nil {
		return nil, err
	}
	lock := ""
	if p.locked {
		lock = a.ID
	}
	if err := c.npmInstall(ctx, dir, lock, p.packages, in.report); err != nil {
		return nil, err
	}
	rec, err := in.describe(ctx, dir, p, node)
	if err != nil {
		return nil, err
	}
	if err := in.verify(ctx, rec); err != nil {
		return nil, err
	}
	in.report("activate", c.launcher(a))
	if err := c.activate(a, rec, !in.share); err != nil {
		return nil, err
	}
	keep = true
	sweep(root, filepath.Base(dir), currentName)
	return rec, nil
}

// describe writes the record of an install and its launcher. The directory of a
// Node.js is empty if the agent runs with that of PATH.
func (in *install) describe(ctx context.Context, dir string, p *plan, node string) (*record, error) {
	a := in.a
	program, err := in.program(ctx, dir, p)
	if err != nil {
		return nil, err
	}
	rec := &record{Version: p.packages[0].Version, Source: p.source, Packages: packageNames(p.packages), Program: program, dir: dir}
	l := launcher{program: program, args: p.args, env: p.env, programs: make(map[string]string)}
	if a.NativeNeeded {
		l.needed = append(l.needed, filepath.Join("node_modules", ".bin"))
	}
	bin, err := filepath.Rel(dir, in.c.nodeBin())
	switch {
	case err != nil:
		return nil, err
	case node != "":
		l.needed = append(l.needed, bin)
	case rec.script():
		l.node = bin
	}
	for _, pkg := range p.packages {
		if !pkg.Native {
			continue
		}
		if rec.Native, err = binOf(dir, pkg.Name, a.Native); err != nil {
			return nil, err
		}
		if a.NativeEnv != "" {
			l.programs[a.NativeEnv] = rec.Native
		}
	}
	if err := rec.write(); err != nil {
		return nil, err
	}
	return rec, os.WriteFile(rec.launcher(), l.text(), 0o755)
}

// program returns the path, below dir, of the program that speaks ACP.
func (in *install) program(ctx context.Context, dir string, p *plan) (string, error) {
	for _, pkg := range in.a.Programs {
		rel := filepath.Join("node_modules", pkg, "bin", in.a.Command)
		if !executable(filepath.Join(dir, rel)) {
			continue
		}
		// A slow machine takes its time for the first start of a large program.
		_, err := in.c.tryLauncher(ctx, filepath.Join(dir, rel))
		if err == nil {
			return rel, nil
		}
	}
	return binOf(dir, p.packages[0].Name, in.a.Command)
}

// verify starts a launcher before it counts.
func (in *install) verify(ctx context.Context, rec *record) error {
	in.report("verify", "starting "+in.a.Name)
	out, err := in.c.tryLauncher(ctx, rec.launcher())
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	reason := "it does not start after the install (" + err.Error() + ")"
	if out != nil && out.words() != "" {
		reason += "; it said:\n" + out.words()
	}
	return errors.New(reason)
}

// tryLauncher runs a command for its help. A command that runs on is stopped and
// is no error: it started.
func (c *Catalogue) tryLauncher(ctx context.Context, path string, args ...string) (*output, error) {
	limit, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	out, err := run(limit, child.Spec{Path: path, Args: append(args, "--help"), Env: installEnv(c.cfg.Env), User: c.cfg.User}, nil)
	if ctx.Err() == nil && limit.Err() != nil {
		return out, nil
	}
	return out, err
}

// result lists what an install put in place.
func (in *install) result(rec *record) *api.AgentInstallResult {
	version := rec.Version
	r := &api.AgentInstallResult{Artifacts: []api.AgentArtifact{
		{Kind: api.ArtifactAgentProcess, Path: in.c.launcher(in.a), Source: rec.Source, Version: &version},
	}}
	if rec.Native != "" {
		last := rec.Packages[len(rec.Packages)-1]
		native := last[strings.LastIndexByte(last, '@')+1:]
		r.Artifacts = append(r.Artifacts, api.AgentArtifact{
			Kind: api.ArtifactNativeAgent, Path: filepath.Join(rec.dir, rec.Native), Source: rec.Source, Version: &native,
		})
	}
	return r
}

// sweep removes what earlier installs left in the directory of an agent.
func sweep(root string, keep ...string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !slices.Contains(keep, entry.Name()) {
			_ = os.RemoveAll(filepath.Join(root, entry.Name()))
		}
	}
}

// Uninstall removes what the data directory has of an agent. Agents that run keep
// running, but may miss files. One that is nowhere is no error; one that is
// installed elsewhere is a conflict.
func (c *Catalogue) Uninstall(ctx context.Context, id string) error {
	return c.cfg.User.Do(func() error { return c.uninstall(ctx, id) })
}

func (c *Catalogue) uninstall(ctx context.Context, id string) error {
	c.installs.RLock()
	defer c.installs.RUnlock()
	a, err := c.Agent(id)
	if err != nil {
		return err
	}
	in := &install{c: c, a: a, report: func(string, string) {}}
	lock, err := in.lock(ctx)
	if err != nil {
		return fmt.Errorf("lock agent: %w", err)
	}
	defer lock.Release()
	defer c.forget(a)
	removed := false
	// The launcher goes first: without it the rest does not count.
	for _, path := range []string{c.launcher(a), c.nativeFile(a), filepath.Join(c.storeDir(), a.ID)} {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove agent: %w", err)
		}
		removed = true
	}
	if removed {
		return nil
	}
	if f, ok := c.find(a); ok {
		return api.Conflict(api.CodeNotInstalledHere, "%s was not installed here: it is %s (%s), which stays", a.ID, f.path, f.source)
	}
	return nil
}

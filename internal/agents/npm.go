package agents

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/filelock"
)

// locks has, for each agent with a lock, a package.json and the lock file that
// npm made of it, with a checksum for every package.
//
//go:embed locks
var locks embed.FS

// nodeVersion is the Node.js that is installed with an agent for which the
// system's is too old. It runs all agents.
const nodeVersion = "24.9.0"

// npmTimeout bounds one run of npm. The largest agent has 450 MB.
const npmTimeout = 20 * time.Minute

// covers reports whether the lock of an agent is complete for this machine.
func (l lockScope) covers(platform string) bool {
	return l == lockEverywhere || l != lockNone && string(l) == platform
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// npmInstall installs into dir what the plan says. The reason of an error is for
// people.
func (c *Catalogue) npmInstall(ctx context.Context, dir, lock string, packages []Package, progress func(phase, message string)) error {
	args := []string{"install", "--save-exact"}
	if lock != "" {
		// Not "npm ci": it refuses a lock without the programs of all platforms.
		// Install holds to the lock as well, versions and checksums.
		args = []string{"install"}
		for _, name := range []string{"package.json", "package-lock.json"} {
			data, err := fs.ReadFile(locks, path.Join("locks", lock, name))
			if err != nil {
				return fmt.Errorf("read lock: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return err
			}
		}
	} else {
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte("{\"private\":true}\n"), 0o644); err != nil {
			return err
		}
	}
	args = append(args, "--prefix", dir, "--no-audit", "--no-fund", "--no-progress", "--omit=dev", "--include=optional",
		"--loglevel=http", "--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=5000")
	// Not left to the configuration of the user, in which they may be on or off.
	scripts := slices.ContainsFunc(packages, func(p Package) bool { return p.Scripts })
	args = append(args, "--ignore-scripts="+strconv.FormatBool(!scripts))
	names := packageNames(packages)
	if lock == "" {
		args = append(args, names...)
	}
	return c.npm(ctx, dir, args, names, progress)
}

func packageNames(packages []Package) []string {
	names := make([]string, len(packages))
	for i, p := range packages {
		names[i] = p.Name + "@" + p.Version
	}
	return names
}

func (c *Catalogue) npm(ctx context.Context, dir string, args, names []string, progress func(phase, message string)) error {
	program := c.cfg.NPM
	if program == "" {
		program = "npm"
	}
	npm, ok := c.lookPath(program)
	if !ok {
		return fmt.Errorf("npm is needed to install %s, and there is no %s on PATH: install Node.js 20 or newer, which has it, and try again", strings.Join(names, " "), program)
	}
	ctx, cancel := context.WithTimeout(ctx, npmTimeout)
	defer cancel()
	progress("download", "npm: "+strings.Join(names, " "))
	out, err := run(ctx, child.Spec{Path: npm, Args: args, Dir: dir, Env: installEnv(c.cfg.Env), User: c.cfg.User}, func(line string) bool {
		if told := npmStep(line); told != "" {
			progress("download", told)
		}
		return !npmChatter.MatchString(line)
	})
	if err == nil {
		return nil
	}
	if out == nil {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("npm was stopped before it had installed %s: %w", strings.Join(names, " "), err)
	}
	said := out.words()
	return fmt.Errorf("npm could not install %s: %s\nnpm said (%w):\n%s", strings.Join(names, " "), npmReason(said), err, said)
}

// installVariables are those of the environment that npm and what it brings get
// while an agent is installed: no credentials. Names that end with * stand for all
// that begin so.
var installVariables = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS",
	"npm_config_*", "NPM_CONFIG_*",
}

// installEnv returns what of an environment npm and new agents get.
func installEnv(env []string) []string {
	kept := []string{}
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if slices.ContainsFunc(installVariables, func(pattern string) bool {
			prefix, many := strings.CutSuffix(pattern, "*")
			return name == pattern || many && strings.HasPrefix(name, prefix)
		}) {
			kept = append(kept, variable)
		}
	}
	return kept
}

// platformPackages returns the names of packages for this machine, in the way in
// which npm spells machines, with each of some ends.
func platformPackages(name string, ends ...string) []string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	names := make([]string, len(ends))
	for i, end := range ends {
		names[i] = name + "-" + runtime.GOOS + "-" + arch + end
	}
	return names
}

// npmChatter matches the lines of npm that do not explain a failure.
var npmChatter = regexp.MustCompile(`^npm (http|warn|notice)\b`)

// npmStep says in a few words what a line of npm tells of an install, or nothing
// if it tells nothing: packages that arrive, and what npm tries again. Errors
// are told when it has ended.
func npmStep(line string) string {
	request, ok := strings.CutPrefix(line, "npm http ")
	switch {
	case !ok && strings.HasPrefix(line, "npm "):
		return ""
	case !ok || strings.Contains(request, " failed with "):
		return strings.TrimPrefix(line, "npm http ")
	}
	for field := range strings.FieldsSeq(request) {
		if strings.HasSuffix(field, ".tgz") && !strings.Contains(request, " 404 ") {
			return "got " + path.Base(field)
		}
	}
	return ""
}

// npmReason says in words what the error code that npm printed means, and what
// to do about it.
func npmReason(said string) string {
	for _, r := range []struct{ codes, reason string }{
		{"ENOTFOUND EAI_AGAIN ECONNREFUSED ECONNRESET ETIMEDOUT ENETUNREACH EHOSTUNREACH ERR_SOCKET_TIMEOUT",
			"the npm registry cannot be reached; check the network, or name a mirror with: npm config set registry URL"},
		{"E404 ETARGET", "the npm registry does not have it; check the version, or the registry with: npm config get registry"},
		{"EINTEGRITY", "a package does not have the checksum of the lock, so it was not installed; clear the cache with: npm cache clean --force, or use another registry"},
		{"E401 E403 ENEEDAUTH", "the npm registry refuses access; log in with: npm login, or use another registry"},
		{"ENOSPC", "the disk is full"},
		{"EACCES EPERM", "a directory cannot be written"},
	} {
		for code := range strings.FieldsSeq(r.codes) {
			if strings.Contains(said, code) {
				return r.reason
			}
		}
	}
	return "see its words"
}

// node returns the directory of a Node.js that is new enough for an agent, empty
// if that on PATH is. It installs one into the data directory when it must.
func (c *Catalogue) node(ctx context.Context, a Agent, progress func(phase, message string)) (string, error) {
	have, ok := c.systemNode(ctx)
	if ok && !olderThan(have, a.MinNode) {
		return "", nil
	}
	return c.ensureNode(ctx, fmt.Sprintf("%s needs Node.js %s, PATH has %s", a.Name, cmp.Or(a.MinNode, "of any version"), cmp.Or(have, "none")), progress)
}

// systemNode returns the version of the Node.js on PATH.
func (c *Catalogue) systemNode(ctx context.Context) (string, bool) {
	node, ok := c.lookPath("node")
	if !ok {
		return "", false
	}
	version, err := c.askVersion(ctx, node)
	return strings.TrimPrefix(version, "v"), err == nil
}

// nodePackage returns the npm package with Node.js for this machine, or nothing if
// npm has none.
func nodePackage() string {
	arch, ok := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	if !ok {
		return ""
	}
	return "node-" + runtime.GOOS + "-" + arch
}

// nodeBin returns the directory of the Node.js in the store, whether it is there or
// not.
func (c *Catalogue) nodeBin() string {
	return filepath.Join(c.storeDir(), "node", nodeVersion, "node_modules", nodePackage(), "bin")
}

func (c *Catalogue) hasNode() bool { return executable(filepath.Join(c.nodeBin(), "node")) }

func (c *Catalogue) ensureNode(ctx context.Context, why string, progress func(phase, message string)) (string, error) {
	name := nodePackage()
	if name == "" {
		return "", fmt.Errorf("%s, and npm has no newer one for %s: install Node.js %s", why, platform(), nodeVersion)
	}
	root := filepath.Join(c.storeDir(), "node")
	home, bin := filepath.Join(root, nodeVersion), c.nodeBin()
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	progress("node", why+": installing "+nodeVersion+" for the agent")
	held, err := filelock.Acquire(ctx, filepath.Join(root, ".lock"), func() { progress("wait", "another install of Node.js is under way") })
	if err != nil {
		return "", err
	}
	defer held.Release()
	if c.hasNode() {
		return bin, os.Chmod(home, 0o755) // earlier versions made it for one user alone
	}
	temp, err := os.MkdirTemp(root, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	lock := ""
	if lockLinuxX64.covers(platform()) {
		lock = "node"
	}
	told := func(_, message string) { progress("node", message) }
	if err := c.npmInstall(ctx, temp, lock, []Package{{Name: name, Version: nodeVersion}}, told); err != nil {
		return "", fmt.Errorf("%s. %w", why, err)
	}
	if _, err := c.askVersion(ctx, filepath.Join(temp, "node_modules", name, "bin", "node")); err != nil {
		return "", fmt.Errorf("%s, and the installed one does not run: %w", why, err)
	}
	if err := os.Chmod(temp, 0o755); err != nil { // other users may run the agents too
		return "", err
	}
	if err := os.RemoveAll(home); err != nil {
		return "", err
	}
	return bin, os.Rename(temp, home)
}

// binOf returns the path, below dir, of the program that a package brings: the
// preferred name if npm linked it, else the package's first.
func binOf(dir, pkg, preferred string) (string, error) {
	rel := filepath.Join("node_modules", ".bin", preferred)
	if preferred != "" && executable(filepath.Join(dir, rel)) {
		return rel, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "node_modules", filepath.FromSlash(pkg), "package.json"))
	if err != nil {
		return "", fmt.Errorf("%s was not installed: %w", pkg, err)
	}
	var manifest struct {
		Bin any `json:"bin"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return "", fmt.Errorf("read package.json of %s: %w", pkg, err)
	}
	var name string
	switch bin := manifest.Bin.(type) {
	case string:
		name = path.Base(pkg)
	case map[string]any:
		for n := range bin {
			if name == "" || n < name {
				name = n
			}
		}
	}
	rel = filepath.Join("node_modules", ".bin", filepath.Base(name))
	if name == "" || !executable(filepath.Join(dir, rel)) {
		return "", fmt.Errorf("%s brings no program %s", pkg, preferred)
	}
	return rel, nil
}

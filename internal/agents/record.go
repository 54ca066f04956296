package agents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// A finished install is a directory of the store with a record and a launcher in it,
// and a launcher below bin that names the directory. The latter takes its place by a
// rename and is what makes the install count, so there is no half one: what no
// launcher names is rubbish of an install that was cut off, and the next one sweeps
// it away. For sandboxes, which see the store alone, the link current names the same
// directory.

const (
	recordName   = "install.json"
	launcherName = "launcher"
	currentName  = "current"
	launcherMark = "# sandbox-agent-install: "
)

// record says what an install put into its directory.
type record struct {
	Version  string   `json:"version"` // of the program that speaks ACP
	Source   string   `json:"source"`
	Packages []string `json:"packages"` // name@version
	Program  string   `json:"program"`  // in the directory
	Native   string   `json:"native,omitempty"`

	dir string
}

func (r *record) program() string  { return filepath.Join(r.dir, r.Program) }
func (r *record) launcher() string { return filepath.Join(r.dir, launcherName) }

// script reports whether the program needs a Node.js, as far as that can be seen.
func (r *record) script() bool {
	return strings.HasPrefix(filepath.ToSlash(r.Program), "node_modules/.bin/")
}

func readRecord(dir string) (*record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return nil, err
	}
	r := &record{dir: dir}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read install record: %w", err)
	}
	return r, nil
}

func (r *record) write() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, recordName), append(data, '\n'), 0o644)
}

// installed returns the record of the install whose launcher is in place, else that
// of the store of the host.
func (c *Catalogue) installed(a Agent) (*record, bool) {
	path := c.launcher(a)
	if !c.usable(a, path) {
		return c.shared(a)
	}
	dir, ok := markOf(path)
	if !ok {
		return nil, false
	}
	rec, err := readRecord(filepath.Join(c.storeDir(), a.ID, dir))
	return rec, err == nil
}

// shared returns the record of an agent in the store of the host.
func (c *Catalogue) shared(a Agent) (*record, bool) {
	if c.cfg.Store == "" {
		return nil, false
	}
	return inStore(c.cfg.Store, a)
}

func inStore(store string, a Agent) (*record, bool) {
	rec, err := readRecord(filepath.Join(store, a.ID, currentName))
	return rec, err == nil && executable(rec.launcher()) && executable(rec.program())
}

// activate makes an install count, in the store and for this user. What the user has
// elsewhere goes on to count unless it is to be replaced.
func (c *Catalogue) activate(a Agent, rec *record, replace bool) error {
	root, name := filepath.Split(rec.dir)
	link := filepath.Join(root, "."+currentName)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(name, link); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(root, currentName)); err != nil {
		return err
	}
	if _, ours := markOf(c.launcher(a)); !ours && !replace {
		if _, elsewhere := c.find(a); elsewhere {
			return nil
		}
	}
	text := "#!/bin/sh\n" + launcherMark + name + "\nexec " + shellwords.Quote(rec.launcher()) + " \"$@\"\n"
	return atomicfile.Write(c.launcher(a), []byte(text), atomicfile.Options{Mode: 0o755})
}

// markOf returns the directory that a launcher of ours names.
func markOf(path string) (dir string, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(head)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), launcherMark); ok {
			return dir, dir == filepath.Base(dir) && dir != ".."
		}
	}
	return "", false
}

// launcher is the script that starts an installed program, wherever the store is
// mounted: what is relative is below the directory that the script is in.
type launcher struct {
	program  string // relative
	args     []string
	needed   []string          // relative directories in front of PATH
	node     string            // relative directory of a Node.js that is used if it is there
	env      map[string]string // variables
	programs map[string]string // variables that name a relative program
}

// text returns the script. A needed directory that the user who runs it cannot search
// is an error: a program of the same name elsewhere on PATH would be another version.
func (l launcher) text() []byte {
	var b bytes.Buffer
	b.WriteString("#!/bin/sh\nset -e\nhere=${0%/*}\n")
	within := func(path string) string { return `"$here"/` + shellwords.Quote(filepath.ToSlash(path)) }
	if l.node != "" {
		b.WriteString("if [ -x " + within(l.node) + " ]; then PATH=" + within(l.node) + ":\"$PATH\"; export PATH; fi\n")
	}
	for _, dir := range slices.Backward(l.needed) {
		b.WriteString("[ -x " + within(dir) + " ] || { echo \"sandbox-agent: $here/\"" +
			shellwords.Quote(dir+" cannot be used by this user: install the agent with --reinstall, as the user that owns it") + " >&2; exit 126; }\n")
		b.WriteString("PATH=" + within(dir) + ":\"$PATH\"; export PATH\n")
	}
	for _, key := range slices.Sorted(maps.Keys(l.env)) {
		b.WriteString("export " + key + "=" + shellwords.Quote(l.env[key]) + "\n")
	}
	for _, key := range slices.Sorted(maps.Keys(l.programs)) {
		b.WriteString("export " + key + "=" + within(l.programs[key]) + "\n")
	}
	b.WriteString("exec " + within(l.program))
	for _, arg := range l.args {
		b.WriteString(" " + shellwords.Quote(arg))
	}
	b.WriteString(" \"$@\"\n")
	return b.Bytes()
}

package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// A finished install is a folder with a record in it, and a launcher that names
// the folder. The launcher takes its place by a rename and is what makes the
// install count, so there is no half one: what no launcher names is rubbish of
// an install that was cut off, and the next one sweeps it away.

const (
	recordName   = "install.json"
	launcherMark = "# sandbox-agent-install: "
)

// record says what an install put into its folder.
type record struct {
	Version  string   `json:"version"` // of the program that speaks ACP
	Source   string   `json:"source"`
	Packages []string `json:"packages"` // name@version
	Program  string   `json:"program"`  // in the folder
	Native   string   `json:"native,omitempty"`

	dir string
}

func (r *record) program() string { return filepath.Join(r.dir, r.Program) }

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

// installed returns the record of the install whose launcher is in place.
func (c *Catalogue) installed(a Agent) (*record, bool) {
	path := c.launcher(a)
	if !c.usable(a, path) {
		return nil, false
	}
	dir, ok := markOf(path)
	if !ok {
		return nil, false
	}
	rec, err := readRecord(filepath.Join(c.processDir(), a.ID, dir))
	return rec, err == nil
}

// markOf returns the folder that a launcher of ours names.
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

// launcherText returns the script that starts an installed program: with folders
// in front of PATH, variables of its own, and arguments before the caller's. A
// folder that the user who runs it cannot search is an error: a program of the
// same name elsewhere on PATH would be another version.
func launcherText(mark, program string, path []string, env map[string]string, args []string) []byte {
	var b bytes.Buffer
	b.WriteString("#!/bin/sh\n" + launcherMark + mark + "\nset -e\n")
	for _, dir := range path {
		b.WriteString("[ -x " + shellwords.Quote(dir) + " ] || { echo " +
			shellwords.Quote("sandbox-agent: "+dir+" cannot be used by this user: install the agent with --reinstall, as the user that owns it") + " >&2; exit 126; }\n")
	}
	if len(path) > 0 {
		b.WriteString("PATH=" + shellwords.Quote(strings.Join(path, ":")) + ":\"$PATH\"\nexport PATH\n")
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		b.WriteString("export " + key + "=" + shellwords.Quote(env[key]) + "\n")
	}
	b.WriteString("exec " + shellwords.Quote(program))
	for _, arg := range args {
		b.WriteString(" " + shellwords.Quote(arg))
	}
	b.WriteString(" \"$@\"\n")
	return b.Bytes()
}

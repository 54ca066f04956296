package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/child"
	"github.com/sandboxagent/sandboxagent/internal/journal/sqlite"
)

// The states of a check of the machine.
const (
	checkOK      = "ok"
	checkWarning = "warning" // something will not work, but not everything
	checkBroken  = "broken"
)

// machineCheck is one thing that doctor looked at besides the agents.
type machineCheck struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// doctorReport is what doctor found.
type doctorReport struct {
	OK      bool             `json:"ok"`
	Machine []machineCheck   `json:"machine"`
	Agents  []api.AgentCheck `json:"agents"`
}

func newDoctor(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [AGENT...]",
		Short: "Say what works on this machine, what does not, and why",
		Long: `Say what works on this machine, what does not, and why: the data directory, the disk,
the journal, the programs that agents need, and every agent. Agents that are
installed are started, for their help only. With --endpoint the server there is
asked too.

Exit codes: 0 if nothing is broken; 1 if the machine or the server is, or if an
agent that was named is not ready; 2 the command was not understood. Agents that
were not named may be missing.`,
		Example: `  sandbox-agent doctor
  sandbox-agent doctor claude && sandbox-agent run --agent claude "make the tests pass"`,
		Args: arguments(0, -1),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return g.completeAgent(cmd, nil, prefix)
		},
		RunE: g.local(func(ctx context.Context, args []string) error {
			for _, id := range args {
				if _, err := g.catalogue().Agent(id); err != nil {
					return err
				}
			}
			report := g.examine(ctx, args)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := g.printReport(report, args); err != nil {
				return err
			}
			if !report.OK {
				return exitStatus(exitError)
			}
			return nil
		}),
	}
	return g.endpointFlag(cmd, "none")
}

func (g *globals) examine(ctx context.Context, wanted []string) doctorReport {
	report := doctorReport{Agents: g.catalogue().Doctor(ctx)}
	report.Machine = append(report.Machine, g.checkData(), g.checkDisk(), g.checkJournal())
	for _, p := range []struct{ program, use string }{
		{"node", "most agents"}, {"npm", "installing agents"}, {"git", "skills from repositories, and most agents"},
	} {
		report.Machine = append(report.Machine, g.checkProgram(ctx, p.program, p.use))
	}
	if g.givenEndpoint() != "" {
		report.Machine = append(report.Machine, g.checkServer(ctx))
	}
	report.OK = !slices.ContainsFunc(report.Machine, func(c machineCheck) bool { return c.Status == checkBroken }) &&
		!slices.ContainsFunc(report.Agents, func(c api.AgentCheck) bool {
			return slices.Contains(wanted, c.Agent) && c.Status != api.CheckReady
		})
	return report
}

// checkData checks whether the data directory can be written, by writing to it.
func (g *globals) checkData() machineCheck {
	c := machineCheck{Name: "data directory", Status: checkOK, Detail: g.data() + " can be written"}
	err := os.MkdirAll(g.data(), 0o700)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(g.data(), ".doctor-*"); err == nil {
			_, err = probe.WriteString("ok")
			err = errors.Join(err, probe.Close(), os.Remove(probe.Name()))
		}
	}
	if err != nil {
		c.Status, c.Detail = checkBroken, g.data()+" cannot be written: "+err.Error()
		c.Hint = "make it yours, or name another with --data-dir or $XDG_DATA_HOME"
	}
	return c
}

// Free space below which an install, or anything at all, is likely to fail, in
// bytes.
const (
	tightDisk = 1 << 30
	fullDisk  = 16 << 20
)

func (g *globals) checkDisk() machineCheck {
	c := machineCheck{Name: "disk", Status: checkOK}
	var stat unix.Statfs_t
	if err := unix.Statfs(existing(g.data()), &stat); err != nil {
		c.Status, c.Detail = checkWarning, "free space is not known: "+err.Error()
		return c
	}
	free := uint64(stat.Bavail) * uint64(stat.Bsize)
	c.Detail = fmt.Sprintf("%s free for %s", size(free), g.data())
	switch {
	case free < fullDisk:
		c.Status, c.Hint = checkBroken, "make room: events cannot be kept, so agents would be held back"
	case free < tightDisk:
		c.Status, c.Hint = checkWarning, "an agent takes some hundred MB"
	}
	return c
}

// existing returns the nearest directory that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// checkJournal opens the journal as a server would.
func (g *globals) checkJournal() machineCheck {
	name := g.journalFile()
	c := machineCheck{Name: "journal", Status: checkOK, Detail: name + " is sound"}
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
		c.Detail = name + " will be made by the first server"
		return c
	}
	if sqlite.Held(name) {
		c.Detail = name + " is in use by a server"
		return c
	}
	store, err := sqlite.Open(name)
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		c.Status, c.Detail = checkBroken, err.Error()
		c.Hint = "move it away; a new one is made, and what happened in sessions so far stays in the old one"
	}
	return c
}

// programTimeout is how long a program may take to tell its version.
const programTimeout = 10 * time.Second

// checkProgram sees whether a program is there and starts.
func (g *globals) checkProgram(ctx context.Context, name, use string) machineCheck {
	c := machineCheck{Name: name, Status: checkOK}
	version, err := g.versionOf(ctx, name)
	if err != nil {
		c.Status, c.Detail = checkWarning, err.Error()
		c.Hint = "it is needed for " + use
		return c
	}
	c.Detail = version
	return c
}

func (g *globals) versionOf(ctx context.Context, name string) (string, error) {
	proc, err := child.Start(child.Spec{Path: name, Args: []string{"--version"}, Dir: g.env.Dir, Env: g.env.forChildren()})
	if err != nil {
		return "", err
	}
	defer proc.Stop(0)
	defer proc.Stderr.Close()
	ctx, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { proc.Stop(0) })()
	out, err := io.ReadAll(io.LimitReader(proc.Stdout, 4<<10))
	proc.Stdout.Close()
	if err != nil {
		return "", fmt.Errorf("%s does not tell its version: %w", name, err)
	}
	select {
	case <-proc.Done():
	case <-ctx.Done():
		return "", fmt.Errorf("%s does not tell its version within %v", name, programTimeout)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if exit := proc.Exit(); exit.Code == nil || *exit.Code != 0 || line == "" {
		return "", fmt.Errorf("%s is there, but does not tell its version", name)
	}
	return line, nil
}

// checkServer asks the server at the endpoint.
func (g *globals) checkServer(ctx context.Context) machineCheck {
	client := g.dial()
	defer client.Close()
	c := machineCheck{Name: "server", Status: checkOK}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	version, err := client.Version(ctx)
	if err != nil {
		c.Status, c.Detail = checkBroken, g.explain(client, err).Error()
		return c
	}
	c.Detail = fmt.Sprintf("%s answers: %s %s, %s/%s", client.BaseURL(), version.Name, version.Version, version.OS, version.Arch)
	if version.AgentUser != "" {
		c.Detail += ", agents run as user " + version.AgentUser
	}
	return c
}

// printReport shows what was found. With agents named, only these are shown.
func (g *globals) printReport(r doctorReport, wanted []string) error {
	if len(wanted) > 0 {
		r.Agents = slices.DeleteFunc(r.Agents, func(c api.AgentCheck) bool { return !slices.Contains(wanted, c.Agent) })
	}
	if g.json {
		return printJSON(g.env.Out, r)
	}
	var b strings.Builder
	item := func(mark, name, detail, hint, stderr string) {
		fmt.Fprintf(&b, "%s %s: %s\n", mark, name, detail)
		if hint != "" {
			fmt.Fprintf(&b, "    %s\n", hint)
		}
		for line := range strings.Lines(stderr) {
			fmt.Fprintf(&b, "    | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	marks := map[string]string{
		checkOK: g.colour(green, "✓"), api.CheckReady: g.colour(green, "✓"),
		checkWarning: g.colour(cyan, "!"), api.CheckNoCredentials: g.colour(cyan, "!"), api.CheckNotInstalled: g.colour(dim, "-"),
		checkBroken: g.colour(red, "✗"), // also api.CheckBroken
	}
	for _, c := range r.Machine {
		item(marks[c.Status], c.Name, c.Detail, c.Hint, "")
	}
	for _, c := range r.Agents {
		item(marks[c.Status], c.Name+" ("+c.Agent+")", c.Detail, c.Hint, c.Stderr)
		if c.Status != api.CheckNotInstalled || len(wanted) > 0 {
			fmt.Fprintf(&b, "    asks before it acts: %s\n", c.Asking)
		}
	}
	_, err := io.WriteString(g.env.Out, b.String())
	return err
}

// size writes a number of bytes for people.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

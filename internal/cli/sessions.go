package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/api"
)

func newSessions(g *globals) *cobra.Command {
	cmd := noun(g, "sessions", "Work with the sessions that a server keeps",
		`Work with the sessions that a server keeps: every conversation with an agent,
whichever client began it. A session outlives its clients, its agent and the server; an ID
is that of the server or that of the agent, or the beginning of one that no other
session has.

Exit codes: 0 done, 1 something went wrong, 2 the command was not understood;
prompt and attach have more.`,
		newSessionsNew(g), newSessionsList(g), newSessionsShow(g), newSessionsEvents(g), newSessionsAttach(g),
		newSessionsPrompt(g), newSessionsCancel(g), newSessionsRemove(g), newSessionsExport(g), newSessionsImport(g), newSessionsSalvage(g))
	return g.endpointFlag(cmd, defaultEndpoint)
}

// ephemeralHelp is the text of the flag --ephemeral.
const ephemeralHelp = "keep the session in memory alone: nothing of it is on the disk of the server, and it ends with the server"

// clientName is what this user is called among the clients of a session.
func (g *globals) clientName() string {
	name := cmp.Or(g.env.lookup("USER"), "sandbox-agent")
	if api.ReservedName(name) { // as the users of containers are often called
		return "user " + name
	}
	return name
}

// maxCompletions is how many of the newest sessions are offered.
const maxCompletions = 100

// completeSession completes ids of sessions.
func (g *globals) completeSession(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client := g.dial()
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	var ids []cobra.Completion
	for s, err := range client.Sessions(ctx, sandboxagent.SessionFilter{}) {
		if err != nil || len(ids) == maxCompletions {
			break
		}
		ids = append(ids, cobra.CompletionWithDesc(s.ID, printable(s.Title)))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newSessionsNew(g *globals) *cobra.Command {
	var opts sandboxagent.SessionOptions
	permissions := ""
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Start a session",
		Long:  "Start a session with an agent, and print its id.",
		Example: `  sandbox-agent sessions new --agent claude --cwd /workspace/project
  sandbox-agent sessions new --agent mock --id nightly --permissions allow`,
		Args: arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
			if opts.Agent == "" {
				return usagef("say which agent, with --agent; see sandbox-agent agents list")
			}
			if permissions != "" {
				policy, err := g.policy(permissions)
				if err != nil {
					return err
				}
				opts.Permissions = policy
			}
			opts.CWD = g.cwdOnServer(ctx, client, opts.CWD)
			session, err := client.CreateSession(ctx, opts)
			if err != nil {
				return err
			}
			if !g.json {
				_, err = fmt.Fprintln(g.env.Out, session.ID)
				return err
			}
			info, err := session.Info(ctx)
			if err != nil {
				return err
			}
			return printJSON(g.env.Out, info)
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&opts.Agent, "agent", "a", "", "agent to run (see sandbox-agent agents list)")
	f.StringVar(&opts.ID, "id", "", "id of the session (default one that the server makes)")
	f.StringVarP(&opts.CWD, "cwd", "C", "", "directory to work in "+relativeCWD)
	f.StringVarP(&opts.Model, "model", "m", "", "model of the agent")
	f.StringVar(&opts.Mode, "mode", "", "mode of the agent, such as plan")
	f.StringVar(&opts.ThoughtLevel, "thought-level", "", "thought level of the agent")
	f.StringVar(&opts.Title, "title", "", "title of the session (default what the agent calls it)")
	f.StringVar(&permissions, "permissions", "", permissionsHelp+" (default ask)")
	f.BoolVar(&opts.Ephemeral, "ephemeral", false, ephemeralHelp)
	return cmd
}

func newSessionsList(g *globals) *cobra.Command {
	var filter sandboxagent.SessionFilter
	limit, all := 0, false
	cmd := &cobra.Command{
		Use:     "ls [TEXT]",
		Aliases: []string{"list"},
		Short:   "List sessions, the newest first",
		Long: `List sessions, the newest first: all, or those with the text in their title, first
prompt, id or directory. The columns are id, agent, status, time of the newest event,
permission requests that wait for a reply, and title.

With --all, list those of all data directories of this user on this machine: that of
the default server, and those of servers that started while it was in use. A column
more has the address of the server; "-" is one that does not run, whose sessions the
commands work on all the same.`,
		Example: `  sandbox-agent sessions ls
  sandbox-agent sessions ls --all
  sandbox-agent sessions ls --status waiting
  sandbox-agent sessions ls --agent claude readme`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				filter.Text = args[0]
			}
			if all && (g.endpoint != "" || g.sandbox != "") {
				return usagef("--all lists the sessions on this machine; leave out --all, or the server")
			}
			if all {
				return g.local(func(ctx context.Context, _ []string) error { return g.listAllSessions(ctx, filter, limit) })(cmd, args)
			}
			return g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
				return g.listSessions(ctx, client, filter, limit)
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "those of all data directories on this machine")
	f.StringVar(&filter.Status, "status", "", "only those that are starting, idle, running, waiting, stopped, failed or destroyed")
	f.StringVarP(&filter.Agent, "agent", "a", "", "only those of an agent")
	f.IntVar(&limit, "limit", 0, "only so many of the newest")
	return cmd
}

func (g *globals) listSessions(ctx context.Context, client *sandboxagent.Client, filter sandboxagent.SessionFilter, limit int) error {
	list := []api.Session{}
	for s, err := range client.Sessions(ctx, filter) {
		if err != nil {
			return err
		}
		if list = append(list, s); limit > 0 && len(list) == limit {
			break
		}
	}
	if g.json {
		return printJSON(g.env.Out, list)
	}
	t := table{ids: true, give: []int{5, 1}, none: "no sessions"}
	t.row(sessionHeader...)
	for _, s := range list {
		t.row(g.sessionRow(s)...)
	}
	return t.print(g)
}

func (g *globals) listAllSessions(ctx context.Context, filter sandboxagent.SessionFilter, limit int) error {
	list, err := g.allSessions(ctx, filter)
	if err != nil {
		return err
	}
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	if g.json {
		return printJSON(g.env.Out, list)
	}
	t := table{ids: true, give: []int{5, 1}, none: "no sessions on this machine"}
	t.row(append(sessionHeader, "SERVER")...)
	for _, s := range list {
		t.row(append(g.sessionRow(s.Session), cmp.Or(s.URL, "-"))...)
	}
	return t.print(g)
}

var sessionHeader = []string{"ID", "AGENT", "STATUS", "UPDATED", "ASKS", "TITLE"}

func (g *globals) sessionRow(s api.Session) []string {
	asks := "-"
	if s.PendingPermissions > 0 {
		asks = fmt.Sprint(s.PendingPermissions)
	}
	return []string{s.ID, s.Agent, s.Status, g.moment(s.UpdatedAt), asks, printable(s.Title)}
}

// moment shows a time of the wire in a list: on a terminal, in few words.
func (g *globals) moment(ms int64) string {
	if !g.env.OutTerminal {
		return moment(ms)
	}
	ago := time.Since(time.UnixMilli(ms))
	switch {
	case ago < time.Minute:
		return "now"
	case ago < time.Hour:
		return fmt.Sprintf("%dm ago", int(ago.Minutes()))
	case ago < 24*time.Hour:
		return fmt.Sprintf("%dh ago", int(ago.Hours()))
	}
	return time.UnixMilli(ms).Format(time.DateOnly)
}

// moment shows a time of the wire.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

func newSessionsShow(g *globals) *cobra.Command {
	transcript := ""
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Describe a session, or tell what was said in it",
		Long: `Describe a session: its agent, state, settings, use and pending permission requests. With
--transcript, tell what was said in it instead, as text, Markdown or JSON.`,
		Example: `  sandbox-agent sessions show 3f2a
  sandbox-agent sessions show --transcript 3f2a
  sandbox-agent sessions show --transcript=markdown 3f2a >session.md`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			session, err := g.findSession(ctx, client, args[0])
			if err != nil {
				return err
			}
			if transcript != "" {
				if g.json {
					transcript = sandboxagent.TranscriptJSON
				}
				text, err := session.Transcript(ctx, transcript)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(g.env.Out, strings.TrimRight(text, "\n"))
				return err
			}
			info, err := session.Info(ctx)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, info)
			}
			return g.describeSession(info)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&transcript, "transcript", "", "tell what was said and done, as text, markdown or json (default text)")
	f.Lookup("transcript").NoOptDefVal = sandboxagent.TranscriptText
	return cmd
}

func (g *globals) describeSession(s *api.Session) error {
	t := table{}
	row := func(name, value string) {
		if value != "" {
			t.row(name+":", printable(value))
		}
	}
	t.row("", "") // the header, which print leaves out or shows as an empty line
	row("id", s.ID)
	row("title", s.Title)
	row("agent", s.Agent)
	row("agent session", s.AgentSessionID)
	row("directory", s.CWD)
	status := s.Status
	if s.Reason != "" {
		status += " (" + s.Reason + ")"
	}
	row("status", status)
	if s.Ephemeral {
		row("kept", "in memory alone; ends with the server")
	}
	row("model", s.Model)
	row("mode", s.Mode)
	row("thought level", s.ThoughtLevel)
	row("created", moment(s.CreatedAt))
	row("updated", moment(s.UpdatedAt))
	row("events", fmt.Sprint(s.LastEvent))
	row("tokens", fmt.Sprintf("%d in, %d out", s.Usage.InputTokens, s.Usage.OutputTokens))
	if c := s.Usage.Cost; c != nil {
		row("cost", fmt.Sprintf("%.4f %s", c.Amount, c.Currency))
	}
	if s.Restored != nil {
		row("restored", s.Restored.How+" at "+moment(s.Restored.At))
	}
	if s.Queued > 0 {
		row("queued", fmt.Sprint(s.Queued))
	}
	if s.PendingPermissions > 0 {
		row("requests", fmt.Sprintf("%d; reply with: %s", s.PendingPermissions, g.command("sessions attach", s.ID)))
	}
	for _, c := range s.Clients {
		row("attached", c.Client+" since "+moment(c.Since))
	}
	return t.print(g)
}

func newSessionsEvents(g *globals) *cobra.Command {
	after, follow := uint64(0), false
	cmd := &cobra.Command{
		Use:   "events ID",
		Short: "Print the events of a session",
		Long: `Print the events of a session: what client and agent sent each other, in order and
each once. With --follow, go on with those to come until interrupted; a server
that goes away meanwhile is waited for. With --json, one object on a line.`,
		Example: `  sandbox-agent sessions events 3f2a
  sandbox-agent sessions events --after 120 --follow --json 3f2a`,
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			session, err := g.findSession(ctx, client, args[0])
			if err != nil {
				return err
			}
			events := session.History(ctx, after)
			if follow {
				events = session.Events(ctx, after)
			}
			for e, err := range events {
				if err == nil {
					err = g.printEvent(e)
				}
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		}),
	}
	f := cmd.Flags()
	f.Uint64Var(&after, "after", 0, "only what comes behind the event of this number")
	f.BoolVarP(&follow, "follow", "f", false, "go on with the events to come")
	return cmd
}

func (g *globals) printEvent(e sandboxagent.SessionEvent) error {
	switch {
	case e.Gap != nil && g.json:
		return g.printLine(map[string]any{"gap": e.Gap})
	case e.Gap != nil:
		_, err := fmt.Fprintf(g.env.Err, "sandbox-agent: events %d to %d are no longer kept\n", e.Gap.From, e.Gap.To)
		return err
	case e.Reset != nil && g.json:
		return g.printLine(map[string]any{"reset": e.Reset})
	case e.Reset != nil:
		_, err := fmt.Fprintf(g.env.Err, "sandbox-agent: event %d was asked for, and the last one is %d\n", e.Reset.Cursor, e.Reset.Last)
		return err
	case g.json:
		return g.printLine(e.SessionEvent)
	}
	_, err := fmt.Fprintf(g.env.Out, "%d  %s  %-6s  %s\n", e.EventIndex, moment(e.CreatedAt), e.Sender, printable(summary(e)))
	return err
}

// summary says in a few words what an event is.
func summary(e sandboxagent.SessionEvent) string {
	if said, ok := e.Prompt(); ok {
		return "prompt: " + short(said.Text())
	}
	if u, ok := e.Update(); ok {
		switch u.Kind {
		case acp.UpdateToolCall, acp.UpdateToolCallDelta:
			return strings.TrimSpace(u.Kind + ": " + describeCall(u.ToolCall) + " " + u.ToolCall.Status)
		}
		return strings.TrimSuffix(u.Kind+": "+short(u.Content.Text), ": ")
	}
	if method := e.Method(); method != "" {
		return method
	}
	return "answer " + short(string(e.Payload))
}

// short is the beginning of a text, on one line.
func short(text string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) <= 100 {
		return string(runes)
	}
	return string(runes[:99]) + "…"
}

func newSessionsCancel(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "cancel ID",
		Short:             "End the turn of a session, and the queued ones",
		Long:              "End the turn of a session, and the queued ones. An agent that does not obey is\nstopped; the next prompt brings it back.",
		Example:           "  sandbox-agent sessions cancel 3f2a",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			session, err := g.findSession(ctx, client, args[0])
			if err != nil {
				return err
			}
			result, err := session.Cancel(ctx)
			switch {
			case err != nil:
				return err
			case g.json:
				return printJSON(g.env.Out, result)
			case result.Forced:
				fmt.Fprintln(g.env.Err, "sandbox-agent: the agent did not obey and was stopped; the next prompt brings it back")
			case result.Cancelled == 0:
				fmt.Fprintln(g.env.Err, "sandbox-agent: there was nothing to cancel")
			}
			return nil
		}),
	}
}

func newSessionsRemove(g *globals) *cobra.Command {
	purge := false
	cmd := &cobra.Command{
		Use:   "rm ID...",
		Short: "End sessions for good",
		Long: `End sessions for good: their turns are cancelled and their agents stopped. What was
said is kept, unless --purge wants that gone too.`,
		Example: `  sandbox-agent sessions rm 3f2a
  sandbox-agent sessions rm --purge 3f2a`,
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			end := (*sandboxagent.Session).Destroy
			if purge {
				end = (*sandboxagent.Session).Purge
			}
			var failed []error
			for _, id := range args {
				session, err := g.findSession(ctx, client, id)
				if err == nil {
					err = end(session, ctx)
				}
				failed = append(failed, err)
			}
			return errors.Join(failed...)
		}),
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the history too")
	return cmd
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

func newPermissions(g *globals) *cobra.Command {
	cmd := noun(g, "permissions", "Work with the permission requests of all sessions",
		`Work with the permission requests of all sessions: list those that wait, reply to
them, follow them, list and forget remembered rules, and try what a policy decides.`,
		newPermissionsList(g), newPermissionsReply(g), newPermissionsWatch(g), newPermissionsCheck(g), newPermissionsRules(g), newPermissionsForget(g))
	return g.endpointFlag(cmd, defaultEndpoint)
}

func newPermissionsList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the permission requests that wait for a reply",
		Long: `List the permission requests of all sessions that wait for a reply, the oldest first.
The columns are id, session, time, the replies that are available, and the tool call.`,
		Example: "  sandbox-agent permissions ls",
		Args:    arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
			inbox, err := client.Permissions(ctx)
			switch {
			case err != nil:
				return err
			case g.json:
				return printJSON(g.env.Out, inbox)
			case len(inbox.Permissions) == 0:
				fmt.Fprintln(g.env.Err, "sandbox-agent: no permission request waits for a reply")
				return nil
			}
			t := table{give: []int{4}, none: "no permission requests"}
			t.row("ID", "SESSION", "ASKED", "REPLIES", "CALL")
			for _, p := range inbox.Permissions {
				t.row(p.ID, p.SessionID, g.moment(p.CreatedAt), strings.Join(p.AvailableReplies, ","), describeCall(p.ToolCall))
			}
			return t.print(g)
		}),
	}
}

func newPermissionsReply(g *globals) *cobra.Command {
	scope := ""
	cmd := &cobra.Command{
		Use:   "reply ID REPLY",
		Short: "Reply to a permission request",
		Long: `Reply to a permission request: once, always, reject, cancel, or the id of one of the
agent's own options. The id may be cut to a beginning that only one request has, with
or without "perm-". The first reply of all clients counts.`,
		Example: `  sandbox-agent permissions reply perm-3f2a9c-12 once
  sandbox-agent permissions reply 3f2a always
  sandbox-agent permissions reply --scope directory 3f2a always`,
		Args:              arguments(2, 2),
		ValidArgsFunction: g.completePermission,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			p, err := findPermission(ctx, client, args[0])
			if err != nil {
				return err
			}
			resolved, err := client.ReplyPermission(ctx, p.SessionID, p.ID, api.PermissionReply{Reply: args[1], Scope: scope})
			var unsupported *sandboxagent.UnsupportedReplyError
			switch {
			case errors.As(err, &unsupported):
				return fmt.Errorf("%w; it takes: %s", err, strings.Join(p.AvailableReplies, ", "))
			case err != nil:
				return err
			case g.json:
				return printJSON(g.env.Out, resolved)
			}
			fmt.Fprintf(g.env.Err, "sandbox-agent: %s: %s\n", describeCall(p.ToolCall), decided(*resolved))
			return nil
		}),
	}
	cmd.Flags().StringVar(&scope, "scope", "", "of the reply always: exact (default), or directory")
	must(cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{api.AlwaysExact, api.AlwaysDirectory}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// findPermission returns the permission request that waits under an id, or under a
// beginning of one that no other has.
func findPermission(ctx context.Context, client *sandboxagent.Client, id string) (*api.Permission, error) {
	inbox, err := client.Permissions(ctx)
	if err != nil {
		return nil, err
	}
	waiting := make(map[string]*api.Permission)
	var found []string
	for i := range inbox.Permissions {
		p := &inbox.Permissions[i]
		if p.ID == id {
			return p, nil
		}
		waiting[p.ID] = p
		if strings.HasPrefix(p.ID, id) || strings.HasPrefix(strings.TrimPrefix(p.ID, "perm-"), id) {
			found = append(found, p.ID)
		}
	}
	whole, err := only("permission request", id, found)
	switch p := waiting[whole]; {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, fmt.Errorf("find permission request %q: none that waits has this id; see sandbox-agent permissions ls", id)
	default:
		return p, nil
	}
}

// completePermission completes ids of permission requests, and then the replies.
func (g *globals) completePermission(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	client := g.dial()
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	inbox, err := client.Permissions(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []cobra.Completion
	for _, p := range inbox.Permissions {
		switch {
		case len(args) == 0:
			list = append(list, cobra.CompletionWithDesc(p.ID, describeCall(p.ToolCall)))
		case p.ID == args[0]:
			list = append(list, p.AvailableReplies...)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func newPermissionsWatch(g *globals) *cobra.Command {
	after := int64(-1)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Follow the permission requests of all sessions",
		Long: `Follow the permission requests of all sessions: those that wait, and then each as it
is asked and resolved, until interrupted. A server that goes away meanwhile is waited
for. With --json, one object on a line; --after goes on behind the seq of one.`,
		Example: `  sandbox-agent permissions watch
  sandbox-agent permissions watch --json --after 120`,
		Args: arguments(0, 0),
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, _ []string) error {
			from := uint64(max(after, 0))
			if after < 0 {
				inbox, err := client.Permissions(ctx)
				if err != nil {
					return err
				}
				from = inbox.Cursor
				for _, p := range inbox.Permissions {
					e := api.PermissionEvent{Seq: from, Type: api.PermissionAsked, At: p.CreatedAt, SessionID: p.SessionID, PermissionID: p.ID, Event: p.Event, Permission: &p}
					if err := g.printPermission(sandboxagent.PermissionEvent{PermissionEvent: e}); err != nil {
						return err
					}
				}
			}
			for e, err := range client.PermissionEvents(ctx, from) {
				if err == nil {
					err = g.printPermission(e)
				}
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		}),
	}
	cmd.Flags().Int64Var(&after, "after", -1, "only what comes behind the event of this number (default: what waits, and then what is new)")
	return cmd
}

func (g *globals) printPermission(e sandboxagent.PermissionEvent) error {
	switch {
	case e.Reset != nil && g.json:
		return g.printLine(map[string]any{"reset": e.Reset})
	case e.Reset != nil:
		_, err := fmt.Fprintf(g.env.Err, "sandbox-agent: the server has lost the events behind %d, and goes on there\n", e.Reset.Last)
		return err
	case e.Gap != nil && g.json:
		return g.printLine(map[string]any{"gap": e.Gap})
	case e.Gap != nil:
		_, err := fmt.Fprintf(g.env.Err, "sandbox-agent: events %d to %d are no longer kept\n", e.Gap.From, e.Gap.To)
		return err
	case g.json:
		return g.printLine(e.PermissionEvent)
	}
	text := "(no longer kept)"
	switch {
	case e.Resolved != nil:
		text = decided(*e.Resolved)
	case e.Permission != nil:
		text = describeCall(e.Permission.ToolCall)
		if replies := e.Permission.AvailableReplies; len(replies) > 0 {
			text += "  [" + strings.Join(replies, ", ") + "]"
		}
	}
	_, err := fmt.Fprintf(g.env.Out, "%s  %-8s  %s  %s\n", moment(e.At), e.Type, e.PermissionID, text)
	return err
}

func newPermissionsRules(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "rules SESSION",
		Short: "List the rules of a session in words",
		Long: `List the rules of a session in words: those of its policy, those that the reply always
has made, and the default. The columns are id, where the rule is from, and what it
does.`,
		Example:           "  sandbox-agent permissions rules 3f2a",
		Args:              arguments(1, 1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			session, err := g.findSession(ctx, client, args[0])
			if err != nil {
				return err
			}
			rules, err := session.PermissionRules(ctx)
			switch {
			case err != nil:
				return err
			case g.json:
				return printJSON(g.env.Out, rules)
			}
			t := table{}
			t.row("ID", "FROM", "RULE")
			for _, r := range rules.Rules {
				t.row(r.ID, "policy", printable(rules.Words[r.ID]))
			}
			for _, r := range rules.Remembered {
				t.row(r.ID, "always, by "+printable(r.By), printable(rules.Words[r.ID]))
			}
			t.row("-", "default", defaultWords(rules.Default))
			return t.print(g)
		}),
	}
}

func newPermissionsForget(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "forget SESSION [RULE...]",
		Short: "Forget rules that the reply always has made",
		Long: `Forget rules of a session, all that the reply always has made or those named: the next
permission request of that kind is asked about again.`,
		Example: `  sandbox-agent permissions forget 3f2a
  sandbox-agent permissions forget 3f2a rule-5d1c`,
		Args:              arguments(1, -1),
		ValidArgsFunction: g.completeSession,
		RunE: g.remote(func(ctx context.Context, client *sandboxagent.Client, args []string) error {
			session, err := g.findSession(ctx, client, args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return session.ForgetPermissionRule(ctx, "")
			}
			var failed []error
			for _, rule := range args[1:] {
				failed = append(failed, session.ForgetPermissionRule(ctx, rule))
			}
			return errors.Join(failed...)
		}),
	}
}

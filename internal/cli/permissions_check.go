package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/permission"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// plainWord matches what a shell reads as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+:,./-]+$`)

// permissionsCheck are the flags of permissions check.
type permissionsCheck struct {
	policy, session, cwd string
}

func newPermissionsCheck(g *globals) *cobra.Command {
	o := &permissionsCheck{}
	cmd := &cobra.Command{
		Use:   "check [COMMAND...]",
		Short: "Try what a policy decides",
		Long: `Try what a policy decides about a tool call, without making it. The call is a command:
one argument is a command line, several are the words of one. Without arguments it is
on standard input: a command line, or a tool call of the Agent Client Protocol as JSON.
With --session and neither, all tool calls of that session are checked.

The columns are the decision, the event of a session, the call, why, and the rules that
match too and lost. Without a server the check is made here; a session needs one.`,
		Example: `  sandbox-agent permissions check --policy policy.json 'true; rm -rf x'
  sandbox-agent permissions check --policy policy.json git push --force
  sandbox-agent permissions check --session 3f2a --policy stricter.json </dev/null
  sandbox-agent permissions check --policy policy.json < call.json`,
		Args: arguments(0, -1),
		RunE: g.local(func(ctx context.Context, args []string) error {
			return o.run(ctx, g, args)
		}),
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the first word is of the command
	f.StringVarP(&o.policy, "policy", "p", "", "policy as JSON, or a file that has it (default that of the session)")
	f.StringVar(&o.session, "session", "", "session whose working directory, policy and remembered rules count")
	f.StringVarP(&o.cwd, "cwd", "C", "", "working directory of the call (default that of the session, else this one where the server is on this machine)")
	must(cmd.RegisterFlagCompletionFunc("session", g.completeSession))
	return cmd
}

func (o *permissionsCheck) run(ctx context.Context, g *globals, args []string) error {
	req := api.PermissionCheckRequest{Session: o.session, CWD: o.cwd}
	var err error
	if o.policy != "" {
		if req.Policy, err = g.readPolicy(o.policy); err != nil {
			return err
		}
	}
	if err := o.readCall(g, args, &req); err != nil {
		return err
	}
	client := g.dial()
	defer client.Close()
	if o.session != "" {
		session, err := g.findSession(ctx, client, o.session)
		if err != nil {
			return g.explain(client, err)
		}
		req.Session = session.ID
	}
	var check *api.PermissionCheck
	if o.session == "" && g.givenEndpoint() == "" && unreachable(ctx, client) {
		check, err = checkHere(g.path(o.cwd), req)
	} else {
		if o.session == "" || req.CWD != "" {
			req.CWD = g.cwdOnServer(ctx, client, req.CWD)
		}
		check, err = client.CheckPermissions(ctx, req)
	}
	switch {
	case err != nil:
		return g.explain(client, err)
	case g.json:
		return printJSON(g.env.Out, check)
	}
	return g.printCheck(check)
}

// readPolicy reads a policy from JSON or from a file.
func (g *globals) readPolicy(given string) (*api.PermissionPolicy, error) {
	data := []byte(given)
	if !strings.HasPrefix(strings.TrimSpace(given), "{") {
		var err error
		if data, err = os.ReadFile(g.path(given)); err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
	}
	return permission.Parse(data)
}

// readCall reads the call to check, from the arguments or from standard input.
func (o *permissionsCheck) readCall(g *globals, args []string, req *api.PermissionCheckRequest) error {
	switch {
	case len(args) == 1:
		req.Command = args[0]
	case len(args) > 1:
		words := make([]string, len(args))
		for i, arg := range args {
			if words[i] = arg; !plainWord.MatchString(arg) {
				words[i] = shellwords.Quote(arg)
			}
		}
		req.Command = strings.Join(words, " ")
	case o.session != "" && g.env.InTerminal:
		return nil // the calls of the session
	default:
		data, err := io.ReadAll(g.env.In)
		if err != nil {
			return fmt.Errorf("read call: %w", err)
		}
		req.Command = strings.TrimSpace(string(data))
	}
	if strings.HasPrefix(req.Command, "{") && json.Valid([]byte(req.Command)) {
		req.ToolCall, req.Command = json.RawMessage(req.Command), ""
	}
	switch {
	case req.Command == "" && req.ToolCall == nil && o.session == "":
		return usagef("there is no call to check: give a command, or a tool call on standard input, or --session")
	case req.Policy == nil && o.session == "":
		return usagef("there is no policy: give one with --policy, or a session that has one with --session")
	}
	return nil
}

// checkHere makes the check without a server.
func checkHere(dir string, req api.PermissionCheckRequest) (*api.PermissionCheck, error) {
	call, err := permission.Call(req.ToolCall, req.Command)
	if err != nil {
		return nil, err
	}
	verdict := permission.Judge{Policy: req.Policy, Dir: dir}.Verdict(call)
	return &api.PermissionCheck{Calls: []api.PermissionCheckCall{{PermissionVerdict: verdict, ToolCallID: call.ID, Title: call.Title, Kind: call.Kind}}}, nil
}

// onThisMachine reports whether a client talks to an address of this machine.
func onThisMachine(client *sandboxagent.Client) bool {
	u, err := url.Parse(client.BaseURL())
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (g *globals) printCheck(check *api.PermissionCheck) error {
	if check.Omitted > 0 {
		fmt.Fprintf(g.env.Err, "sandbox-agent: %d earlier tool calls are left out\n", check.Omitted)
	}
	if len(check.Calls) == 0 {
		fmt.Fprintln(g.env.Err, "sandbox-agent: the session has no tool calls")
		return nil
	}
	t := table{}
	t.row("DECISION", "EVENT", "CALL", "WHY", "BEATEN")
	for _, c := range check.Calls {
		event, beaten := "-", "-"
		if c.Event > 0 {
			event = fmt.Sprint(c.Event)
		}
		var lost []string
		for _, r := range c.Beaten {
			lost = append(lost, r.ID+": "+permission.Words(r))
		}
		if len(lost) > 0 {
			beaten = strings.Join(lost, "; ")
		}
		why := c.Reason
		if c.Rule != nil {
			why = c.Rule.ID + ": " + permission.Words(*c.Rule)
		}
		if len(c.NotUnderstood) > 0 {
			why += " (not understood: " + strings.Join(c.NotUnderstood, "; ") + ")"
		}
		title := c.Title
		if title == "" {
			title = strings.Join(append(c.Kinds, c.Paths...), " ")
		}
		t.row(c.Decision, event, printable(title), printable(why), printable(beaten))
	}
	return t.print(g)
}

// defaultWords says what a default decides.
func defaultWords(d api.PermissionDefault) string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(d)) {
		if kind != api.DefaultKind {
			words = append(words, d[kind]+" "+kind)
		}
	}
	rest := d.For(api.DefaultKind)
	if len(words) == 0 {
		return rest + " everything else"
	}
	return strings.Join(append(words, rest+" everything else"), ", ")
}

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

// defaultEndpoint is where a server is unless it was told otherwise.
const defaultEndpoint = "http://127.0.0.1:2468"

// noun returns a command that only has commands below it. Its examples are the
// first of each of these.
func noun(g *globals, use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long}
	g.wantVerb(cmd)
	cmd.AddCommand(verbs...)
	examples := make([]string, len(verbs))
	for i, verb := range verbs {
		examples[i] = firstExample(verb)
	}
	cmd.Example = strings.Join(examples, "\n")
	return cmd
}

// wantVerb makes cmd on its own an error, which its help explains.
func (g *globals) wantVerb(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.SetOut(g.env.Err)
		if err := cmd.Help(); err != nil {
			return err
		}
		return exitStatus(exitUsage)
	}
}

// unknownCommand is the error for what is no command below cmd.
func unknownCommand(cmd *cobra.Command, name string) error {
	next := fmt.Sprintf("see %s --help", cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if alike := cmd.SuggestionsFor(name); len(alike) > 0 {
		next = fmt.Sprintf("did you mean %s?", strings.Join(alike, " or "))
	}
	return usagef("unknown command %q; %s", strings.TrimPrefix(cmd.CommandPath()+" "+name, "sandbox-agent "), next)
}

// firstExample returns the first example of a command, which may go on over
// several lines.
func firstExample(cmd *cobra.Command) string {
	lines := strings.Split(cmd.Example, "\n")
	last := slices.IndexFunc(lines, func(line string) bool { return !strings.HasSuffix(line, "\\") })
	return strings.Join(lines[:last+1], "\n")
}

// arguments checks how many there are; a negative max is any number.
func arguments(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < min:
			return usagef("an argument is missing: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
		case max >= 0 && len(args) > max:
			return usagef("unexpected argument %q; see %s --help", args[max], cmd.CommandPath())
		}
		return nil
	}
}

// endpointFlag gives cmd, and what is below it, the flag for the server to use.
func (g *globals) endpointFlag(cmd *cobra.Command, absent string) *cobra.Command {
	cmd.PersistentFlags().StringVarP(&g.endpoint, "endpoint", "e", "", "server to use (default $SANDBOX_AGENT_ENDPOINT, else "+absent+")")
	cmd.PersistentFlags().StringVar(&g.sandbox, "sandbox", "", "sandbox to use, in place of a server (see sandbox-agent sandbox ls)")
	cmd.MarkFlagsMutuallyExclusive("endpoint", "sandbox")
	must(cmd.RegisterFlagCompletionFunc("sandbox", g.completeSandbox))
	return cmd
}

// givenEndpoint returns the server that was asked for, or nothing.
func (g *globals) givenEndpoint() string {
	if g.sandbox != "" {
		return sandboxEndpoint
	}
	if g.endpoint != "" {
		return g.endpoint
	}
	return g.env.lookup("SANDBOX_AGENT_ENDPOINT")
}

// sandboxEndpoint stands for the server of a sandbox, which is found by its id.
const sandboxEndpoint = "http://sandbox"

// dial returns a client of the server: the one that was named, else that of the data
// directory, else the one at the default address. It does not talk to it yet.
func (g *globals) dial(opts ...sandboxagent.Option) *sandboxagent.Client {
	if g.sandbox != "" {
		opts = append(opts, sandboxagent.WithHTTPClient(&http.Client{Transport: &sandboxTransport{g: g, name: g.sandbox}}))
	}
	return g.dialTo(cmp.Or(g.givenEndpoint(), g.published(), defaultEndpoint), opts...)
}

func (g *globals) dialTo(endpoint string, opts ...sandboxagent.Option) *sandboxagent.Client {
	opts = append(opts, sandboxagent.WithToken(g.bearer()), sandboxagent.WithClientName(g.clientName()))
	return sandboxagent.New(endpoint, opts...)
}

// command is a command line that does something more with the same server and the
// same data: it can be pasted.
func (g *globals) command(name string, words ...string) string {
	line := []string{"sandbox-agent", name}
	for _, flag := range []struct{ name, value string }{{"--endpoint", g.endpoint}, {"--sandbox", g.sandbox}, {"--data-dir", g.dataDir}} {
		if flag.value != "" {
			line = append(line, flag.name, shellwords.Quote(flag.value))
		}
	}
	return strings.Join(append(line, words...), " ")
}

// remoteFunc is the body of a command that works on a server.
type remoteFunc func(ctx context.Context, client *sandboxagent.Client, args []string) error

// remote runs the body of a command with a client and a context that ends with
// a signal.
func (g *globals) remote(do remoteFunc) func(*cobra.Command, []string) error {
	return g.local(func(ctx context.Context, args []string) error {
		client := g.dial()
		defer client.Close()
		g.introduce(ctx, client)
		return g.explain(client, do(ctx, client, args))
	})
}

// local runs the body of a command with a context that ends with a signal. The
// second signal ends the program.
func (g *globals) local(do func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithCancelCause(cmd.Context())
		defer cancel(nil)
		go g.cancelOnSignal(ctx, cancel)
		return interrupted(ctx, do(ctx, args))
	}
}

// interrupted returns the exit status that a signal asks for in place of err, if
// it was a signal that ended ctx.
func interrupted(ctx context.Context, err error) error {
	var end signalled
	if err != nil && errors.As(context.Cause(ctx), &end) {
		return exitStatus(end.status())
	}
	return err
}

// signalled is why a context ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return s.String() }

// status is how shells count the end by a signal.
func (s signalled) status() int {
	if number, ok := s.Signal.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitError
}

func (g *globals) cancelOnSignal(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case sig := <-g.env.Signals:
		cancel(signalled{sig})
	case <-ctx.Done():
		return
	}
	if sig, ok := <-g.env.Signals; ok {
		os.Exit(signalled{sig}.status())
	}
}

// explain says what to do about a server, or an agent, that cannot be used.
func (g *globals) explain(client *sandboxagent.Client, err error) error {
	var dial *net.OpError
	var problem *api.Error
	switch {
	case undialled(err) && errors.As(err, &dial):
		return fmt.Errorf("no server answers at %s: %w; start one with sandbox-agent daemon start, or name another with --endpoint", client.BaseURL(), dial.Err)
	case unauthorized(err):
		return fmt.Errorf("%w: give the token of %s with --token or $SANDBOX_AGENT_TOKEN", err, client.BaseURL())
	case errors.Is(err, api.CodeAgentError) && errors.As(err, &problem):
		return g.explainLogin(problem.Agent, err)
	case errors.As(err, &problem) && problem.Type == "about:blank":
		return fmt.Errorf("%w: what answers at %s is not sandbox-agent, or something in front of it", err, client.BaseURL())
	}
	return err
}

func unauthorized(err error) bool { return errors.Is(err, api.CodeTokenInvalid) }

package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/internal/credentials"
)

// credentialOptions are the flags of the commands on credentials.
type credentialOptions struct {
	home, agent, provider   string
	noOAuth, reveal, export bool
}

func (o *credentialOptions) discover(g *globals) credentials.Found {
	home := o.home
	if home == "" {
		home = g.env.Home
	}
	return credentials.Discover(credentials.Sources{Env: g.env.Env, Home: home, NoOAuth: o.noOAuth, Now: time.Now()})
}

// one returns the credential that an agent, a provider, or both name.
func (o *credentialOptions) one(g *globals, found credentials.Found) (credentials.Credential, error) {
	if o.agent == "" {
		credential, ok := found.Provider(o.provider)
		if !ok {
			return credential, fmt.Errorf("no credentials found for provider %s", o.provider)
		}
		return credential, nil
	}
	agent, err := g.catalogue().Agent(o.agent)
	if err != nil {
		return credentials.Credential{}, err
	}
	return agent.Credential(found, o.provider)
}

func (o *credentialOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.home, "home-dir", "d", "", "home directory to look in (default your own)")
	f.BoolVar(&o.noOAuth, "no-oauth", false, "leave logins out, take API keys only")
}

func newCredentials(g *globals) *cobra.Command {
	return noun(g, "credentials", "Find the credentials of the agents on this machine",
		`Find the credentials that agents have on this machine: in the environment and in
the files of Claude Code, Codex, OpenCode and Amp. Nothing is sent anywhere.

Exit codes: 0 found or listed, 1 what was asked for was not found, 2 the command
was not understood.`,
		newCredentialsExtract(g), newCredentialsExtractEnv(g))
}

func newCredentialsExtract(g *globals) *cobra.Command {
	o := &credentialOptions{}
	cmd := &cobra.Command{
		Use:   "extract",
		Short: "Print the credentials",
		Long: `Print the credentials that were found, as JSON and with the secrets hidden unless
--reveal is given.

With --agent or --provider only the secret of that one is printed, in the clear
and ready for a script. It is an error if there is none.`,
		Example: `  sandbox-agent credentials extract
  curl -H "x-api-key: $(sandbox-agent credentials extract --provider anthropic)" ...`,
		Args: arguments(0, 0),
		RunE: g.local(func(context.Context, []string) error {
			found := o.discover(g)
			if o.agent == "" && o.provider == "" {
				return printJSON(g.env.Out, found.View(o.reveal))
			}
			credential, err := o.one(g, found)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(g.env.Out, map[string]string{"provider": credential.Provider, "source": credential.Source, "auth_type": credential.AuthType, "api_key": credential.Key.Reveal()})
			}
			_, err = fmt.Fprintln(g.env.Out, credential.Key.Reveal())
			return err
		}),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.agent, "agent", "a", "", "print the secret that an agent would use")
	f.StringVarP(&o.provider, "provider", "p", "", "print the secret for a provider, such as anthropic")
	f.BoolVarP(&o.reveal, "reveal", "r", false, "show the secrets in the clear")
	must(cmd.RegisterFlagCompletionFunc("agent", g.completeAgent))
	return cmd
}

func newCredentialsExtractEnv(g *globals) *cobra.Command {
	o := &credentialOptions{}
	cmd := &cobra.Command{
		Use:   "extract-env",
		Short: "Print the credentials as variables",
		Long: `Print the credentials that were found as variables, one a line and in the clear: as
an environment file has them, where values are not quoted; with --export, for a
shell, where they are quoted if they have to be: evaluating that does nothing but
assign, whatever the secrets hold.`,
		Example: `  docker run --env-file <(sandbox-agent credentials extract-env) IMAGE
  eval "$(sandbox-agent credentials extract-env --export)"`,
		Args: arguments(0, 0),
		RunE: g.local(func(context.Context, []string) error {
			if o.export {
				_, err := io.WriteString(g.env.Out, o.discover(g).ShellExports())
				return err
			}
			text, omitted := o.discover(g).EnvFile()
			for _, key := range omitted {
				fmt.Fprintf(g.env.Err, "sandbox-agent: %s has several lines, for which an environment file has no form; take --export\n", key)
			}
			_, err := io.WriteString(g.env.Out, text)
			return err
		}),
	}
	o.flags(cmd)
	cmd.Flags().BoolVarP(&o.export, "export", "e", false, "print what a shell evaluates, with export in front of every variable")
	return cmd
}

// must panics on an error that only a wrong program can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

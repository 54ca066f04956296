package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

func newFakeModel(g *globals) *cobra.Command {
	o := &fakeModelOptions{}
	cmd := &cobra.Command{
		Use:   "fakemodel",
		Short: "Serve a scripted model, to try agents without a key",
		Long:  fakemodel.Usage(),
		Example: `  sandbox-agent fakemodel --for claude
  sandbox-agent fakemodel --port 9000 --script turns.json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFakeModel(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.Uint16VarP(&o.port, "port", "p", 0, "port to listen on; 0 takes a free one")
	f.StringVar(&o.script, "script", "", "JSON file with the turns to answer")
	f.StringVar(&o.agent, "for", "", "make a home directory for this agent, and print how to try it")
	must(cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(fakemodel.Agents(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// fakeModelOptions are the flags of the fakemodel command.
type fakeModelOptions struct {
	port          uint16
	script, agent string
}

func runFakeModel(ctx context.Context, g *globals, o *fakeModelOptions) error {
	var options fakemodel.Options
	if o.script != "" {
		file, err := os.Open(g.path(o.script))
		if err != nil {
			return fmt.Errorf("read script: %w", err)
		}
		options.Script, err = fakemodel.ReadScript(file)
		file.Close()
		if err != nil {
			return err
		}
	}
	listener, err := listen("127.0.0.1", o.port)
	if err != nil {
		return err
	}
	if err := g.announceModel("http://"+listener.Addr().String(), o.agent); err != nil {
		return errors.Join(err, listener.Close())
	}
	hs := &http.Server{Handler: fakemodel.New(options), ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-g.env.Signals:
		case <-ctx.Done():
		}
		hs.Close()
	}()
	if err := hs.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// announceModel prints where the model is, and how to try an agent with it.
func (g *globals) announceModel(url, agent string) error {
	var env []string
	if agent != "" {
		var err error
		if env, err = fakemodel.Wire(agent, url, filepath.Join(g.data(), "fakemodel", agent)); err != nil {
			return err
		}
	}
	if g.json {
		return printJSON(g.env.Out, struct {
			URL string   `json:"url"`
			Env []string `json:"env,omitempty"`
		}{url, env})
	}
	if _, err := fmt.Fprintf(g.env.Out, "Scripted model listening on %s\n", url); err != nil || agent == "" {
		return err
	}
	var command strings.Builder
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		command.WriteString(name + "=" + shellwords.Quote(value) + " ")
	}
	// The home directory is another, so the data directory must be named.
	fmt.Fprintf(&command, "sandbox-agent run --data-dir %s --agent %s", shellwords.Quote(g.data()), agent)
	_, err := fmt.Fprintf(g.env.Out, "Try it in another terminal, with:\n  %s \"write notes.txt with hello\"\n", command.String())
	return err
}

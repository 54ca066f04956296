package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
)

func newFakeModel(g *globals) *cobra.Command {
	var port uint16
	var script string
	cmd := &cobra.Command{
		Use:   "fakemodel",
		Short: "Serve a scripted model, to try agents without a key",
		Long:  fakemodel.Usage(),
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFakeModel(cmd.Context(), g, port, script)
		},
	}
	cmd.Flags().Uint16VarP(&port, "port", "p", 0, "port to listen on; 0 takes a free one")
	cmd.Flags().StringVar(&script, "script", "", "JSON file with the turns to answer")
	return cmd
}

func runFakeModel(ctx context.Context, g *globals, port uint16, script string) error {
	var options fakemodel.Options
	if script != "" {
		file, err := os.Open(script)
		if err != nil {
			return fmt.Errorf("read script: %w", err)
		}
		options.Script, err = fakemodel.ReadScript(file)
		file.Close()
		if err != nil {
			return err
		}
	}
	listener, err := listen("127.0.0.1", port)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if g.json {
		err = printJSON(g.env.Out, map[string]string{"url": url})
	} else {
		_, err = fmt.Fprintf(g.env.Out, "Scripted model listening on %s\n", url)
	}
	if err != nil {
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

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// printJSON writes v with two blanks of indent and a line end.
func printJSON(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// logger returns the logger of a command, on standard error.
func (g *globals) logger(fallback slog.Level) (*slog.Logger, error) {
	name := g.logLevel
	if name == "" {
		name = g.env.lookup("SANDBOX_AGENT_LOG")
	}
	level := fallback
	if name != "" {
		if err := level.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
			return nil, usagef("unknown log level %q; use debug, info, warn or error", name)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	if g.json {
		return slog.New(slog.NewJSONHandler(g.env.Err, options)), nil
	}
	return slog.New(slog.NewTextHandler(g.env.Err, options)), nil
}

// colour paints text that goes to standard output, if that is a terminal.
func (g *globals) colour(colour, text string) string {
	if !g.env.OutTerminal || g.env.lookup("NO_COLOR") != "" {
		return text
	}
	return colour + text + reset
}

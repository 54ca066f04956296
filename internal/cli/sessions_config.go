package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/settings"
)

// sessionConfig are records of an export alone: what is configured for a session,
// by its id and the noun. A server has that in files of its data folder.
const sessionConfig = "session-config"

// configFile is the file in which a server of a data folder looks for what is
// configured for a session.
func configFile(data, id, noun string) (string, error) {
	if !filepath.IsLocal(id) || filepath.Base(id) != id {
		return "", fmt.Errorf("configuration of a session has the id %q", id)
	}
	dir, err := filepath.Abs(filepath.Join(data, "sessions", id))
	if err != nil {
		return "", err
	}
	all := settings.New(settings.Options{})
	switch noun {
	case "mcp":
		return all.MCP.Path(dir), nil
	case "skills":
		return all.Skills.Path(dir), nil
	}
	return "", fmt.Errorf("configuration of session %s is of an unknown kind: %q", id, noun)
}

// recordConfig puts what is configured for a session into a journal, for an
// export. It returns the ids of the records.
func recordConfig(ctx context.Context, j *journal.Journal, data, id string) (records []string, err error) {
	for _, noun := range []string{"mcp", "skills"} {
		path, err := configFile(data, id, noun)
		if err != nil {
			return records, err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return records, fmt.Errorf("read configuration: %w", err)
		}
		record := id + "/" + noun
		if err := j.PutRecord(ctx, sessionConfig, record, content); err != nil {
			return records, err
		}
		records = append(records, record)
	}
	return records, nil
}

// forgetConfig takes records of configuration out of a journal.
func forgetConfig(ctx context.Context, j *journal.Journal, records []string) error {
	var failed []error
	for _, id := range records {
		failed = append(failed, j.DeleteRecord(ctx, sessionConfig, id))
	}
	return errors.Join(failed...)
}

// restoreConfig moves what an import has brought to where a server looks for it.
// It returns the number of records.
func restoreConfig(ctx context.Context, j *journal.Journal, data string) (int, error) {
	records, err := j.ListRecords(ctx, sessionConfig, "")
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		id, noun, _ := strings.Cut(r.ID, "/")
		path, err := configFile(data, id, noun)
		if err != nil {
			return 0, api.InvalidRequest(api.CodeInvalidRequest, "%w", err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return 0, fmt.Errorf("make folder of configuration: %w", err)
		}
		if err := writeWhole(path, func(w io.Writer) error { _, err := w.Write(r.Data); return err }); err != nil {
			return 0, fmt.Errorf("write configuration: %w", err)
		}
		if err := forgetConfig(ctx, j, []string{r.ID}); err != nil {
			return 0, err
		}
	}
	return len(records), nil
}

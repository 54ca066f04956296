package run

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// checkAgent reports an agent of the spec that the sandbox does not have.
func (b *box) checkAgent(ctx context.Context) error {
	id := b.record.Spec.Agent
	if id == "" {
		return nil
	}
	var info api.AgentInfo
	if err := b.call(ctx, http.MethodGet, "/v1/agents/"+id, nil, &info); err != nil {
		return err
	}
	if !info.Installed {
		return api.AgentNotInstalled(id, "the sandbox does not have it; install it first: sandbox-agent agents install --sandboxes "+id)
	}
	return nil
}

// bootstrap writes the files of the spec and runs its commands, all of it by the
// server in the sandbox: a link in the workspace leads nowhere else than what runs
// there could go itself.
func (b *box) bootstrap(ctx context.Context) ([]api.ProcessRunResult, error) {
	spec := b.record.Spec
	if len(spec.Files) > 0 {
		if err := b.call(ctx, http.MethodPost, "/v1/fs/batch", b.batch(spec.Files), nil); err != nil {
			return nil, fmt.Errorf("write files: %w", err)
		}
	}
	var results []api.ProcessRunResult
	for _, cmd := range spec.Bootstrap {
		timeout := max(cmd.Timeout, 0)
		if timeout == 0 {
			timeout = bootstrapTimeout
		}
		ms := timeout.Milliseconds()
		req := api.ProcessRunRequest{Command: cmd.Args[0], Args: cmd.Args[1:], Cwd: &b.status.WorkDir, TimeoutMs: &ms}
		var result api.ProcessRunResult
		if err := b.call(ctx, http.MethodPost, "/v1/processes/run", req, &result); err != nil {
			return results, bootstrapFailed(cmd, "%w", err)
		}
		results = append(results, result)
		if result.ExitCode == nil || *result.ExitCode != 0 {
			return results, bootstrapFailed(cmd, "%s%s", outcome(result), quote(result)).With("result", result)
		}
	}
	return results, nil
}

func bootstrapFailed(cmd provider.Command, format string, args ...any) *api.Error {
	return api.NewError(api.KindUnprocessable, api.CodeBootstrapFailed,
		"bootstrap command %q: "+format, append([]any{strings.Join(cmd.Args, " ")}, args...)...)
}

func outcome(result api.ProcessRunResult) string {
	switch {
	case result.TimedOut:
		return "it ran out of time"
	case result.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *result.ExitCode)
	}
	return result.ExitSignal
}

// quote returns the end of what a command printed.
func quote(result api.ProcessRunResult) string {
	text := strings.TrimSpace(result.Stdout + "\n" + result.Stderr)
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return "; its last output: " + strings.Join(lines[max(0, len(lines)-5):], "\n")
}

func (b *box) batch(files []provider.File) api.FileBatchRequest {
	var req api.FileBatchRequest
	for _, file := range files {
		mode := file.Mode
		if mode == 0 {
			mode = defaultMode(file.Content)
		}
		req.Files = append(req.Files, api.FileBatchItem{
			Path: b.place(file.Path), Mode: fmt.Sprintf("%04o", mode),
			Content: base64.StdEncoding.EncodeToString(file.Content), Encoding: "base64",
		})
	}
	return req
}

func defaultMode(content []byte) fs.FileMode {
	if bytes.HasPrefix(content, []byte("#!")) {
		return 0o755
	}
	return 0o644
}

// place returns where a file of the spec goes. The server knows names that are not
// absolute as below the home directory.
func (b *box) place(name string) string {
	below, home := strings.CutPrefix(name, "~/")
	switch {
	case home:
		return path.Clean(below)
	case path.IsAbs(name):
		return path.Clean(name)
	}
	return path.Join(b.status.WorkDir, name)
}

package fakeagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/acp"
	"github.com/sandboxagent/sandboxagent/internal/child"
)

// maxOutput is how many bytes of a command's output are shown; the end is kept.
const maxOutput = 64 << 10

// maxEditFile is the largest file in bytes that is read to be changed.
const maxEditFile = 16 << 20

// A step is a job made ready: the call to show, and what to do once it is allowed.
type step struct {
	call  acp.ToolCall
	apply func(ctx context.Context) (acp.ToolCall, error) // what to add to the call
	done  string                                          // what to say afterwards
}

// do carries a job out: plan, call, permission, change, summary.
func (t *turn) do(ctx context.Context, j job) error {
	t.calls++
	s, err := t.prepare(j)
	if err != nil {
		t.say(fmt.Sprintf("I cannot do that: %v.", err))
		t.reportUsage()
		return nil
	}
	planning := t.meta.Mode == modePlan
	t.plan(s.call.Title, planning, false)
	t.think("The task changes something: " + s.call.Title + ".")
	if planning {
		t.say(fmt.Sprintf("Plan: %s. Nothing was changed, as the session is in plan mode.", s.call.Title))
		t.reportUsage()
		return nil
	}
	return t.carryOut(ctx, s)
}

func (t *turn) carryOut(ctx context.Context, s step) error {
	t.send(acp.Update{Kind: acp.UpdateToolCall, ToolCall: s.call})
	allowed, err := t.ask(ctx, s.call)
	if err != nil {
		t.finish(s.call.ID, acp.StatusFailed, acp.ToolCall{Content: textContent("Cancelled.")})
		return err
	}
	if !allowed {
		t.finish(s.call.ID, acp.StatusFailed, acp.ToolCall{Content: textContent("The user refused permission.")})
		t.say("I was not allowed to, so nothing was changed.")
		t.reportUsage()
		return nil
	}
	t.send(acp.Update{Kind: acp.UpdateToolCallDelta, ToolCall: acp.ToolCall{ID: s.call.ID, Status: acp.StatusInProgress}})
	_ = t.conn.Flush() // a command may take long
	result, err := s.apply(ctx)
	if ctx.Err() != nil {
		t.finish(s.call.ID, acp.StatusFailed, acp.ToolCall{Content: textContent("Cancelled.")})
		return ctx.Err()
	}
	if err != nil {
		if result.Content == nil {
			result.Content = textContent(err.Error())
		}
		t.finish(s.call.ID, acp.StatusFailed, result)
		t.say(fmt.Sprintf("That did not work: %v.", err))
	} else {
		t.finish(s.call.ID, acp.StatusCompleted, result)
		t.plan(s.call.Title, false, true)
		t.say(s.done)
	}
	t.reportUsage()
	return nil
}

func (t *turn) finish(id, status string, with acp.ToolCall) {
	with.ID, with.Status = id, status
	t.send(acp.Update{Kind: acp.UpdateToolCallDelta, ToolCall: with})
}

func (t *turn) plan(what string, planning, done bool) {
	first, second := acp.StatusInProgress, acp.StatusPending
	if planning {
		first = acp.StatusPending
	}
	if done {
		first, second = acp.StatusCompleted, acp.StatusCompleted
	}
	t.send(acp.Update{Kind: acp.UpdatePlan, Plan: []acp.PlanEntry{
		{Content: what, Priority: "high", Status: first},
		{Content: "Say what was done", Priority: "low", Status: second},
	}})
}

// ask gets the permission for a call. Clients that cannot be asked refuse; an
// error means the turn is cancelled.
func (t *turn) ask(ctx context.Context, call acp.ToolCall) (bool, error) {
	if slices.Contains(t.session.snapshot().Always, call.Kind) {
		return true, nil
	}
	request := acp.PermissionRequest{SessionID: t.session.id, ToolCall: call, Options: []acp.PermissionOption{
		{OptionID: "allow-once", Name: "Allow", Kind: acp.AllowOnce},
		{OptionID: "allow-always", Name: "Always allow in this session", Kind: acp.AllowAlways},
		{OptionID: "reject-once", Name: "Reject", Kind: acp.RejectOnce},
	}}
	var reply acp.PermissionResult
	err := t.conn.Call(ctx, acp.MethodRequestPermission, request, &reply)
	var refused *acp.RPCError
	switch {
	case errors.As(err, &refused):
		return false, nil
	case err != nil:
		return false, err
	case reply.Outcome.Outcome != acp.OutcomeSelected:
		t.session.cancelTurns()
		return false, context.Canceled
	}
	switch reply.Outcome.OptionID {
	case "allow-always":
		t.session.mu.Lock()
		t.session.meta.Always = append(t.session.meta.Always, call.Kind)
		t.session.mu.Unlock()
		return true, t.store.save(t.session)
	case "allow-once":
		return true, nil
	}
	return false, nil
}

func textContent(text string) []acp.ToolContent {
	block := acp.TextBlock(text)
	return []acp.ToolContent{{Type: acp.ToolContentBlock, Content: &block}}
}

// prepare looks at the files and says what would be done.
func (t *turn) prepare(j job) (step, error) {
	id := fmt.Sprintf("call-%s", newID()[:8])
	if j.verb == run {
		return t.prepareRun(id, j.command), nil
	}
	rel, err := t.inside(j.path)
	if err != nil {
		return step{}, err
	}
	switch j.verb {
	case remove:
		return t.prepareRemove(id, rel), nil
	case rename:
		to, err := t.inside(j.to)
		if err != nil {
			return step{}, err
		}
		return t.prepareRename(id, rel, to), nil
	}
	old, exists, err := t.read(rel)
	if err != nil {
		return step{}, err
	}
	text := j.content
	switch {
	case j.verb == appendTo || j.keep:
		if old != "" && !strings.HasSuffix(old, "\n") {
			old += "\n"
		}
		text = old + j.content
	case j.verb == replace && !exists:
		return step{}, fmt.Errorf("file not found: %s", rel)
	case j.verb == replace && !strings.Contains(old, j.old):
		return step{}, fmt.Errorf("%s does not contain %q", rel, j.old)
	case j.verb == replace:
		text = strings.ReplaceAll(old, j.old, j.new)
	}
	return t.prepareWrite(id, rel, old, exists, text), nil
}

// inside returns the path relative to the working directory of the session.
func (t *turn) inside(path string) (string, error) {
	rel := filepath.Clean(path)
	if filepath.IsAbs(rel) {
		var err error
		if rel, err = filepath.Rel(t.meta.CWD, rel); err != nil {
			return "", fmt.Errorf("%s is outside the working directory of the session", path)
		}
	}
	if rel == "." || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is outside the working directory of the session", path)
	}
	return rel, nil
}

// root opens the working directory of the session, which no name or link leads out of.
func (t *turn) root() (*os.Root, error) {
	root, err := os.OpenRoot(t.meta.CWD)
	if err != nil {
		return nil, fmt.Errorf("open working directory: %w", err)
	}
	return root, nil
}

func (t *turn) read(rel string) (text string, exists bool, err error) {
	root, err := t.root()
	if err != nil {
		return "", false, err
	}
	defer root.Close()
	info, err := root.Stat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxEditFile {
		return "", false, fmt.Errorf("%s is not a file of at most %d bytes", rel, maxEditFile)
	}
	data, err := root.ReadFile(rel)
	return string(data), true, err
}

func (t *turn) prepareWrite(id, rel, old string, exists bool, text string) step {
	abs := filepath.Join(t.meta.CWD, rel)
	diff := acp.ToolContent{Type: acp.ToolContentDiff, Path: abs, NewText: text}
	title, done := "Write "+rel, "I wrote "+rel+"."
	if exists {
		diff.OldText = &old
		title, done = "Edit "+rel, "I changed "+rel+"."
	}
	return step{
		call: t.call(id, acp.ToolEdit, title, map[string]string{"path": abs, "content": text}, []acp.ToolContent{diff}, abs),
		done: done,
		apply: func(context.Context) (acp.ToolCall, error) {
			root, err := t.root()
			if err != nil {
				return acp.ToolCall{}, err
			}
			defer root.Close()
			if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
				return acp.ToolCall{}, err
			}
			return acp.ToolCall{RawOutput: raw(map[string]int{"bytes": len(text)})}, root.WriteFile(rel, []byte(text), 0o644)
		},
	}
}

func (t *turn) prepareRemove(id, rel string) step {
	abs := filepath.Join(t.meta.CWD, rel)
	return step{
		call: t.call(id, acp.ToolDelete, "Delete "+rel, map[string]string{"path": abs}, nil, abs),
		done: "I deleted " + rel + ".",
		apply: func(context.Context) (acp.ToolCall, error) {
			root, err := t.root()
			if err != nil {
				return acp.ToolCall{}, err
			}
			defer root.Close()
			return acp.ToolCall{}, root.Remove(rel)
		},
	}
}

func (t *turn) prepareRename(id, from, to string) step {
	absFrom, absTo := filepath.Join(t.meta.CWD, from), filepath.Join(t.meta.CWD, to)
	return step{
		call: t.call(id, acp.ToolMove, "Rename "+from+" to "+to, map[string]string{"from": absFrom, "to": absTo}, nil, absFrom, absTo),
		done: "I renamed " + from + " to " + to + ".",
		apply: func(context.Context) (acp.ToolCall, error) {
			root, err := t.root()
			if err != nil {
				return acp.ToolCall{}, err
			}
			defer root.Close()
			if _, err := root.Lstat(to); err == nil {
				return acp.ToolCall{}, fmt.Errorf("%s is there already", to)
			}
			return acp.ToolCall{}, root.Rename(from, to)
		},
	}
}

func (t *turn) prepareRun(id, command string) step {
	return step{
		call: t.call(id, acp.ToolExecute, command, map[string]string{"command": command, "cwd": t.meta.CWD}, nil),
		done: "The command has ended well.",
		apply: func(ctx context.Context) (acp.ToolCall, error) {
			output, exit, err := shell(ctx, t.meta.CWD, command)
			if err != nil {
				return acp.ToolCall{}, err
			}
			result := acp.ToolCall{Content: textContent(output), RawOutput: raw(map[string]any{"exitCode": exit.Code, "signal": exit.Signal, "output": output})}
			if exit.Code == nil {
				return result, fmt.Errorf("the command was ended by %s", exit.Signal)
			}
			if *exit.Code != 0 {
				return result, fmt.Errorf("the command ended with exit code %d", *exit.Code)
			}
			return result, nil
		},
	}
}

func (t *turn) call(id, kind, title string, input any, content []acp.ToolContent, paths ...string) acp.ToolCall {
	call := acp.ToolCall{ID: id, Title: title, Kind: kind, Status: acp.StatusPending, Content: content, RawInput: raw(input)}
	for _, p := range paths {
		call.Locations = append(call.Locations, acp.Location{Path: p})
	}
	return call
}

// raw encodes what cannot fail to encode.
func raw(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return data
}

// shell runs a command to its end, or kills it when ctx ends. It returns the end
// of what the command wrote to either stream.
func shell(ctx context.Context, dir, command string) (string, child.Exit, error) {
	proc, err := child.Start(child.Spec{Path: "/bin/sh", Args: []string{"-c", command}, Dir: dir})
	if err != nil {
		return "", child.Exit{}, fmt.Errorf("start command: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = proc.Stop(0) })
	defer stop()
	var out tail
	var readers sync.WaitGroup
	for _, r := range []io.Reader{proc.Stdout, proc.Stderr} {
		readers.Go(func() { _, _ = io.Copy(&out, r) })
	}
	readers.Wait()
	<-proc.Done()
	_ = proc.Stop(time.Second) // what the command left behind
	return out.String(), proc.Exit(), nil
}

// tail is a writer that keeps the last maxOutput bytes.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if len(t.data) > 2*maxOutput {
		t.data = slices.Clone(t.data[len(t.data)-maxOutput:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.data[max(0, len(t.data)-maxOutput):]), "\uFFFD")
}

package bubblewrap_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	sandboxagent "github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

func TestAgentsUnprivileged(t *testing.T) {
	needBwrap(t)
	providertest.RunUnprivileged(t, "^TestAgents$")
}

// TestAgents gives sandboxes agents of the host: they run them, and change nothing.
func TestAgents(t *testing.T) {
	needBwrap(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Below a directory that only its owner may enter, as a home directory is.
	closed := filepath.Join(providertest.TempDir(t), "home")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(closed, "data", "store")
	p := bubblewrap.New(bubblewrap.Config{StateDir: providertest.TempDir(t), Binary: exe, Store: store})

	early := providertest.Create(t, p, provider.Spec{}) // before there is a store
	if _, err := p.Create(providertest.Context(t), provider.Spec{Agent: "codex"}); !errors.Is(err, api.CodeAgentNotInstalled) {
		t.Errorf("a sandbox for an agent that is not installed: %v", err)
	}
	if _, err := p.Create(providertest.Context(t), provider.Spec{Agent: "nonesuch"}); !errors.Is(err, api.CodeUnsupportedAgent) {
		t.Errorf("a sandbox for an agent that is unknown: %v", err)
	}
	addAgent(t, store, "codex")
	addAgent(t, store, "pi")
	work(t, early, "codex") // it was installed while the sandbox ran
	var all sync.WaitGroup
	for _, agent := range []string{"codex", "pi", "codex"} {
		all.Go(func() {
			i, err := p.Create(providertest.Context(t), provider.Spec{Agent: agent})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() {
				if err := p.Destroy(providertest.Context(t), i.ID); err != nil {
					t.Error(err)
				}
			}()
			work(t, i, agent)
			result := providertest.Shell(t, p, i.ID, "cat ~/state-*; echo "+i.ID+" >~/state-"+i.ID)
			if result.Stdout != "" {
				t.Errorf("another sandbox left %q in the home directory", result.Stdout)
			}
		})
	}
	all.Wait()

	for _, script := range []string{
		"touch $SANDBOX_AGENT_STORE/x", "echo x >>$SANDBOX_AGENT_STORE/codex/current/launcher", "chmod 777 $SANDBOX_AGENT_STORE/codex",
		"rm -rf $SANDBOX_AGENT_STORE/pi", "ln -sfn /tmp $SANDBOX_AGENT_STORE/codex/current",
		"unshare -Urm mount -o remount,rw,bind $SANDBOX_AGENT_STORE", "unshare -Urm umount $SANDBOX_AGENT_STORE",
		"ls " + closed, "ls " + filepath.Dir(store),
	} {
		result := providertest.Shell(t, p, early.ID, `test -n "$SANDBOX_AGENT_STORE" && `+script)
		if result.ExitCode == nil || *result.ExitCode == 0 {
			t.Errorf("%s: %+v", script, result)
		}
	}
	work(t, early, "codex")
	work(t, early, "pi")
}

// addAgent puts an agent into a store, as an install does. It is the mock.
func addAgent(t *testing.T, store, id string) {
	t.Helper()
	dir := filepath.Join(store, id, "1.0.0-1")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	const script = "#!/bin/sh\nexec \"$SANDBOX_AGENT_BIN\" mock\n"
	for name, text := range map[string]string{
		"install.json": `{"version":"1.0.0","program":"bin/agent"}`, "bin/agent": script, "launcher": script,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("1.0.0-1", filepath.Join(store, id, "current")); err != nil {
		t.Fatal(err)
	}
}

// work has an agent write a file in a sandbox.
func work(t *testing.T, i *provider.Instance, agent string) {
	t.Helper()
	ctx := providertest.Context(t)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx) }}
	client := sandboxagent.New("http://sandbox", sandboxagent.WithHTTPClient(&http.Client{Transport: transport}), sandboxagent.WithToken(string(i.Token)))
	defer client.Close()
	session, err := client.CreateSession(ctx, sandboxagent.SessionOptions{Agent: agent, Permissions: api.PermissionPolicy{Default: api.PermissionDefault{api.DefaultKind: "allow"}}})
	if err != nil {
		t.Errorf("session with %s: %v", agent, err)
		return
	}
	name := "made-by-" + agent + ".txt"
	if _, err := session.Prompt(ctx, sandboxagent.Text("create a file called "+name)); err != nil {
		t.Errorf("prompt %s: %v", agent, err)
	}
	if _, err := client.Stat(ctx, "/workspace/"+name); err != nil {
		t.Errorf("the file of %s: %v", agent, err)
	}
}

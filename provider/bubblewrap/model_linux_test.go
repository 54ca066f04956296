package bubblewrap_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/fakemodel"
	"github.com/sandboxagent/sandboxagent/provider"
	"github.com/sandboxagent/sandboxagent/provider/bubblewrap"
	"github.com/sandboxagent/sandboxagent/provider/providertest"
)

const realKey = "sk-ant-real-6f1d8a0c4b7e"

func TestModelNetworkUnprivileged(t *testing.T) {
	needBwrap(t)
	providertest.RunUnprivileged(t, "^TestModelNetwork$")
}

func TestModelNetwork(t *testing.T) {
	needBwrap(t)
	for name, test := range map[string]func(*testing.T){
		"every dialect passes":                           modelDialects,
		"the real key is nowhere in the sandbox":         modelKeyIsNowhere,
		"without credentials it is made, and says so":    modelWithoutCredentials,
		"keys are replaced while it runs":                modelNewKeys,
		"keys stay over a restart and end with the shim": modelKeysOfShim,
		"a base URL that cannot be one is refused":       modelBadBase,
	} {
		t.Run(name, test)
	}
}

// A modelUser is somebody who makes sandboxes, with an environment of their own.
type modelUser struct {
	p     providertest.Provider
	state string
}

// newModelUser returns a user with these variables.
func newModelUser(t *testing.T, state string, env ...string) modelUser {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	return modelUser{bubblewrap.New(bubblewrap.Config{StateDir: state, Binary: exe, Env: env}), state}
}

func (u modelUser) create(t *testing.T) *provider.Instance {
	t.Helper()
	return providertest.Create(t, u.p, provider.Spec{Network: provider.NetworkModel})
}

// post sends a request from the sandbox and returns the response.
func (u modelUser) post(t *testing.T, id, path, body string) string {
	t.Helper()
	result, err := u.p.Exec(providertest.Context(t), id, api.ProcessRunRequest{
		Command: "sh", Args: []string{"-c", `exec /opt/sandbox-agent/sandbox-agent probe post "$ANTHROPIC_BASE_URL$1" "$2"`, "sh", path, body},
	})
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout + result.Stderr
}

// upstream is where the variables of all vendors lead.
func upstream(t *testing.T, h http.Handler) []string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return []string{
		"ANTHROPIC_BASE_URL=" + s.URL, "OPENAI_BASE_URL=" + s.URL + "/v1", "GOOGLE_GEMINI_BASE_URL=" + s.URL,
		"ANTHROPIC_API_KEY=" + realKey, "OPENAI_API_KEY=" + realKey, "GEMINI_API_KEY=" + realKey,
	}
}

// echo is an upstream that sends back what it got.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s key=%d %s", r.Method, r.URL, len(r.Header.Get("X-Api-Key")+r.Header.Get("X-Goog-Api-Key")+r.Header.Get("Authorization")), r.Header)
})

func modelDialects(t *testing.T) {
	u := newModelUser(t, providertest.TempDir(t), upstream(t, fakemodel.New(fakemodel.Options{}))...)
	i := u.create(t)
	if len(i.Warnings) > 0 || len(i.Models) != 3 {
		t.Errorf("warnings %q, models %q", i.Warnings, i.Models)
	}
	for path, body := range map[string]string{
		"/v1/messages":                                   `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"ping"}]}`,
		"/v1/chat/completions":                           `{"model":"m","stream":true,"messages":[{"role":"user","content":"ping"}]}`,
		"/v1/responses":                                  `{"model":"m","stream":true,"input":"ping"}`,
		"/v1beta/models/m:generateContent":               `{"contents":[{"role":"user","parts":[{"text":"ping"}]}]}`,
		"/v1beta/models/m:streamGenerateContent?alt=sse": `{"contents":[{"role":"user","parts":[{"text":"ping"}]}]}`,
	} {
		if got := u.post(t, i.ID, path, body); !strings.Contains(got, "ping") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func modelKeyIsNowhere(t *testing.T) {
	u := newModelUser(t, providertest.TempDir(t), upstream(t, echo)...)
	i := u.create(t)
	got := u.post(t, i.ID, "/v1/messages", "{}")
	if want := fmt.Sprintf("POST /v1/messages key=%d", len(realKey)); !strings.HasPrefix(got, want) {
		t.Fatalf("the upstream got %s, want %s", got, want)
	}
	// What was printed is in a file as well, and in the log of a process that is kept.
	script := `/opt/sandbox-agent/sandbox-agent probe post "$ANTHROPIC_BASE_URL/v1/messages" "{}" | tee answer`
	if result := providertest.Shell(t, u.p, i.ID, script+"; env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline"); !strings.Contains(result.Stdout, "POST /v1/messages") || strings.Contains(result.Stdout, realKey) {
		t.Errorf("got %s", result.Stdout)
	}
	inside := providertest.Shell(t, u.p, i.ID, "grep -rlI -e '"+realKey[:12]+`' --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr / 2>/dev/null; true`)
	if inside.Stdout != "" {
		t.Errorf("it is in %s", inside.Stdout)
	}
	filesWith(t, u.state, realKey)
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range names {
		cmdline, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err != nil || !bytes.Contains(cmdline, []byte(i.ID)) && !bytes.Contains(cmdline, []byte("sandbox-agent server")) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(name, "environ"))
		checked++
		if bytes.Contains(environ, []byte(realKey)) || bytes.Contains(cmdline, []byte(realKey)) {
			t.Errorf("it is in the environment or the arguments of %s", cmdline)
		}
	}
	if checked == 0 {
		t.Error("the shim was not found")
	}
}

// filesWith reports the files below dir that have a text.
func filesWith(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%s has the key", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func modelWithoutCredentials(t *testing.T) {
	u := newModelUser(t, providertest.TempDir(t))
	i := u.create(t)
	command := "sandbox-agent sandbox keys " + i.ID
	if len(i.Warnings) != 1 || !strings.Contains(i.Warnings[0], command) {
		t.Errorf("warnings: %q", i.Warnings)
	}
	if got := u.post(t, i.ID, "/v1/messages", "{}"); !strings.HasPrefix(got, `{"error":{`) || !strings.Contains(got, command) {
		t.Errorf("got %s", got)
	}
}

func modelNewKeys(t *testing.T) {
	state := providertest.TempDir(t)
	u := newModelUser(t, state)
	i := u.create(t)
	later := newModelUser(t, state, upstream(t, echo)...)
	for _, test := range []struct {
		user modelUser
		want string
	}{{later, fmt.Sprintf("POST /v1/messages key=%d", len(realKey))}, {u, `{"error":`}} {
		warnings, err := test.user.p.(provider.KeySetter).SetKeys(providertest.Context(t), i.ID)
		if err != nil || (len(warnings) > 0) != (test.want == `{"error":`) {
			t.Fatalf("warnings %q, %v", warnings, err)
		}
		if got := u.post(t, i.ID, "/v1/messages", "{}"); !strings.HasPrefix(got, test.want) {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	none := providertest.Create(t, u.p, provider.Spec{Network: provider.NetworkNone})
	if _, err := u.p.(provider.KeySetter).SetKeys(providertest.Context(t), none.ID); !errors.Is(err, api.CodeUnsupportedSpec) {
		t.Errorf("without a forwarder: %v", err)
	}
}

func modelKeysOfShim(t *testing.T) {
	state := providertest.TempDir(t)
	u := newModelUser(t, state, upstream(t, echo)...)
	stranger := newModelUser(t, state)
	i := u.create(t)
	restart := func(by modelUser, want string) {
		t.Helper()
		if err := by.p.Restart(providertest.Context(t), i.ID); err != nil {
			t.Fatal(err)
		}
		if got := u.post(t, i.ID, "/v1/messages", "{}"); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	restart(stranger, "POST ")
	killShim(t, state, i.ID)
	providertest.Wait(t, "the sandbox has failed, and its keys are gone", func() bool {
		now, err := u.p.Get(providertest.Context(t), i.ID)
		if err != nil {
			t.Fatal(err)
		}
		return now.State == provider.Failed && strings.Contains(now.Reason, "keys") && now.Models == nil
	})
	restart(stranger, `{"error":`)
	if err := u.p.Kill(providertest.Context(t), i.ID); err != nil {
		t.Fatal(err)
	}
	restart(u, "POST ")
}

func modelBadBase(t *testing.T) {
	u := newModelUser(t, providertest.TempDir(t), "OPENAI_BASE_URL=localhost:1234")
	if _, err := u.p.Create(providertest.Context(t), provider.Spec{Network: provider.NetworkModel}); !errors.Is(err, api.CodeInvalidSpec) || !strings.Contains(err.Error(), "OPENAI_BASE_URL") {
		t.Errorf("got %v", err)
	}
}

// killShim kills the process that owns a sandbox.
func killShim(t *testing.T, state, id string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(state, "sandboxes", id, "status.json"))
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ ShimPID int }
	if err := json.Unmarshal(data, &status); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(status.ShimPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

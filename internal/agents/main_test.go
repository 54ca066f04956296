package agents

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sandboxagent/sandboxagent/internal/shellwords"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a data folder, a home and a PATH with nothing of this machine on
// it but a shell.
type machine struct {
	t    *testing.T
	data string
	home string
	bin  string // on PATH
	env  []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{t: t, data: filepath.Join(root, "data"), home: filepath.Join(root, "home"), bin: filepath.Join(root, "bin")}
	for _, dir := range []string{m.data, m.home, m.bin} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.env = []string{"PATH=" + m.bin, "HOME=" + m.home}
	m.program("node", "echo v24.9.0")
	return m
}

func (m *machine) catalogue(change ...func(*Config)) *Catalogue {
	cfg := Config{DataDir: m.data, Home: m.home, Env: m.env, SelfExe: "/opt/sandbox-agent"}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg)
}

// program puts a shell script on PATH.
func (m *machine) program(name, body string) string {
	m.t.Helper()
	return m.write(filepath.Join(m.bin, name), "#!/bin/sh\n"+body+"\n", 0o755)
}

func (m *machine) launcherFile(id, body string) string {
	m.t.Helper()
	return m.write(filepath.Join(m.data, "bin", "agent_processes", id+"-acp"), body, 0o755)
}

// storeLauncher returns the launcher that sandboxes see of an agent.
func (m *machine) storeLauncher(id string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.data, "store", id, "current", "launcher"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

func (m *machine) write(path, content string, mode os.FileMode) string {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// npm puts a stand-in for npm on PATH. It installs a program with the name of
// the agent's command, notes each of its runs in npm.log beside the data folder,
// and first runs extra, in the folder it installs to.
func (m *machine) npm(command, extra string) {
	m.t.Helper()
	m.program("npm", fmt.Sprintf(`PATH=/usr/bin:/bin
echo "$@" >>%[1]s
echo "npm http fetch GET 200 https://registry.test/one 3ms (cache miss)" >&2
echo "npm http fetch GET 200 https://registry.test/one.tgz 3ms (cache miss)" >&2
echo "npm warn nothing to worry about" >&2
%[2]s
mkdir -p node_modules/.bin
printf '#!/bin/sh\necho help of %[3]s\n' >node_modules/.bin/%[3]s
chmod 755 node_modules/.bin/%[3]s
echo added 1 package`, shellwords.Quote(m.npmLog()), extra, command))
}

func (m *machine) npmLog() string { return filepath.Join(m.home, "npm.log") }

// npmRuns returns the arguments of every run of npm.
func (m *machine) npmRuns() []string {
	m.t.Helper()
	data, err := os.ReadFile(m.npmLog())
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

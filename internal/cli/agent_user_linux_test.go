package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent"
	"github.com/sandboxagent/sandboxagent/api"
)

// root reports whether this process can start programs as another user. There is no way
// to try that as an ordinary one.
func root(t *testing.T) bool {
	if os.Geteuid() != 0 {
		t.Log("only root can start programs as another user")
	}
	return os.Geteuid() == 0
}

// asAgentUser starts a server of root whose agents are of an ordinary user.
func asAgentUser(t *testing.T, user string, flags ...string) (s *builtServer, data, home string) {
	t.Helper()
	dir := openDir(t)
	data, home = filepath.Join(dir, "data"), filepath.Join(dir, "home")
	args := []string{"server", "--token", agentUserToken, "--port", "0", "--data-dir", data, "--agent-user", user, "--agent-home", home}
	cmd := exec.Command(builtProgram(t), append(args, flags...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "XDG_CONFIG_HOME=/root/.config"}
	return startBuilt(t, cmd, agentUserToken), data, home
}

const agentUserToken = "needle-that-no-agent-may-read"

func TestAgentUserRunsEverything(t *testing.T) {
	if !root(t) {
		return
	}
	s, _, home := asAgentUser(t, fmt.Sprint(ordinary))
	const show = `id -u; id -g; id -G; grep -E '^(Cap(Prm|Eff|Amb|Inh|Bnd)|NoNewPrivs)' /proc/self/status | tr -d '\t'; echo $HOME; echo config $XDG_CONFIG_HOME; pwd; echo written >/dev/stdout`
	want := strings.Join([]string{
		"65534", "65534", "65534",
		"CapInh:0000000000000000", "CapPrm:0000000000000000", "CapEff:0000000000000000", "CapBnd:0000000000000000", "CapAmb:0000000000000000",
		"NoNewPrivs:1", home, "config", home, "written", "",
	}, "\n")
	if got := s.sh(t, show); got != want {
		t.Errorf("a run prints\n%s\nwant\n%s", got, want)
	}

	p, err := s.StartProcess(t.Context(), api.ProcessCreateRequest{Command: "/bin/sh", Args: []string{"-c", show}})
	if err != nil {
		t.Fatal(err)
	}
	if logged := logOf(t, p); logged != want {
		t.Errorf("a process prints\n%s\nwant\n%s", logged, want)
	}

	if got := s.sh(t, "su -c id 2>&1 </dev/null; cp /bin/sh ./sh; chmod 4755 ./sh; ./sh -p -c 'id -u'"); strings.Contains(got, "uid=0") || !strings.HasSuffix(got, "65534\n") {
		t.Errorf("rights are gained: %s", got)
	}
}

func TestAgentUserReadsNothingOfTheServer(t *testing.T) {
	if !root(t) {
		return
	}
	s, data, home := asAgentUser(t, fmt.Sprint(ordinary))
	session, err := s.CreateSession(t.Context(), sandboxagent.SessionOptions{Agent: "mock", CWD: home})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(t.Context(), sandboxagent.Text("hello")); err != nil {
		t.Fatal(err)
	}
	for _, pid := range s.programs(t) {
		out := s.sh(t, fmt.Sprintf("cat /proc/%d/environ /proc/%[1]d/maps /proc/%[1]d/mem /proc/%[1]d/cmdline; ls /proc/%[1]d/fd /proc/%[1]d/root; kill -9 %[1]d; echo end", pid))
		if strings.Contains(out, agentUserToken) || !strings.Contains(out, "not permitted") || strings.Count(out, "denied") < 4 {
			t.Errorf("process %d: %s", pid, out)
		}
	}
	if out := s.sh(t, "ls -a "+data+"; cat "+data+"/journal.db; echo x >"+data+"/x; mv "+data+" "+data+"2; rm -rf "+data); strings.Count(out, "denied") < 5 {
		t.Errorf("data directory: %s", out)
	}
	var names []string
	err = filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil || len(names) < 3 {
		t.Fatalf("data directory has %v, %v", names, err)
	}
	for _, name := range names {
		if out := s.sh(t, "stat "+name+" && cat "+name); !strings.Contains(out, "denied") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out := s.sh(t, "grep -rl "+agentUserToken+" /proc/[0-9]*/environ /proc/[0-9]*/cmdline /tmp "+home+" 2>/dev/null"); strings.Contains(out, "environ") || strings.Contains(out, home) {
		t.Errorf("the token is in %s", out)
	}
}

// logOf returns what a process has written when it has ended.
func logOf(t *testing.T, p *sandboxagent.Process) (text string) {
	t.Helper()
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for entry, err := range p.Logs(t.Context(), sandboxagent.LogsOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		text += string(entry.Data)
	}
	return text
}

// The mock agent is a child like a real one: its files and commands are its user's.
func TestAgentOfAnAgentUser(t *testing.T) {
	if !root(t) {
		return
	}
	s, _, home := asAgentUser(t, fmt.Sprint(ordinary))
	agents := s.sh(t, "ps -eo user:20,args | grep -c '[s]andbox-agent mock'")
	session, err := s.CreateSession(t.Context(), sandboxagent.SessionOptions{Agent: "mock", CWD: home})
	if err != nil {
		t.Fatal(err)
	}
	turn, err := session.Prompt(t.Context(), sandboxagent.Text("hello"))
	if err != nil || turn.StopReason != "end_turn" {
		t.Fatalf("turn %+v, %v (agents before: %s)", turn, err, agents)
	}
	list, err := os.ReadDir(filepath.Join(home, ".local", "share", "sandbox-agent", "mock"))
	if err != nil || len(list) == 0 {
		t.Fatalf("records of the mock: %v, %v", list, err)
	}
	info, err := list[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != ordinary {
		t.Errorf("the record of the mock is of user %d", uid)
	}
}

// What clients do to files is done with the rights of the user: a link cannot make the
// server write where the user may not.
func TestFilesOfAnAgentUser(t *testing.T) {
	if !root(t) {
		return
	}
	s, data, home := asAgentUser(t, fmt.Sprint(ordinary))
	outside := filepath.Join(openDir(t), "outside")
	if err := os.WriteFile(outside, []byte("of root"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sh(t, fmt.Sprintf("ln -s %s link; ln -s %s dir", outside, filepath.Dir(outside)))
	ctx := t.Context()
	denied := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	_, err := s.ReadFile(ctx, home+"/link")
	denied("read through a link", err)
	denied("write through a link", s.WriteFile(ctx, home+"/link", []byte("x"), 0o644))
	denied("write into a linked directory", s.WriteFile(ctx, home+"/dir/x", []byte("x"), 0o644))
	_, err = s.ReadFile(ctx, filepath.Join(data, "journal.db"))
	denied("read the journal", err)
	_, err = s.ReadFile(ctx, "/etc/shadow")
	denied("read what is root's", err)
	if err := s.WriteFile(ctx, home+"/a/b/c", []byte("mine"), 0o644); err != nil {
		t.Error(err)
	}
	if out := s.sh(t, "stat -c %u a a/b a/b/c && cat a/b/c && rm -r a"); out != "65534\n65534\n65534\nmine" {
		t.Errorf("what was written: %s", out)
	}
	text, err := os.ReadFile(outside)
	if err != nil || string(text) != "of root" {
		t.Errorf("the file outside has %q, %v", text, err)
	}
}

func TestTerminalOfAnAgentUser(t *testing.T) {
	if !root(t) {
		return
	}
	s, _, _ := asAgentUser(t, "nobody")
	p, err := s.StartProcess(t.Context(), api.ProcessCreateRequest{Command: "/bin/sh", Args: []string{"-c", "id -u; stat -c %u $(tty); echo opened >$(tty)"}, TTY: true})
	if err != nil {
		t.Fatal(err)
	}
	if logged := logOf(t, p); logged != "65534\r\n65534\r\nopened\r\n" {
		t.Errorf("the terminal has %q", logged)
	}
}

func TestAgentUserIsShown(t *testing.T) {
	if !root(t) {
		return
	}
	s, _, _ := asAgentUser(t, "65534:12345")
	version, err := s.Version(t.Context())
	if err != nil || version.AgentUser != "nobody" {
		t.Errorf("version %+v, %v", version, err)
	}
	if out := s.sh(t, "id -u; id -g; id -G"); out != "65534\n12345\n12345\n" {
		t.Errorf("ids: %s", out)
	}
	out, err := exec.Command(builtProgram(t), "doctor", "--endpoint", s.url, "--token", agentUserToken, "--data-dir", t.TempDir(), "mock").CombinedOutput()
	if !strings.Contains(string(out), "agents run as user nobody") {
		t.Errorf("doctor: %s, %v", out, err)
	}
}

func TestAgentUserIsRefused(t *testing.T) {
	if !root(t) {
		return
	}
	program := builtProgram(t)
	dir := openDir(t)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(open, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		uid  uint32
		want string
	}{
		"a name that nobody has":  {[]string{"--agent-user", "no-such-user-here", "--token", "x"}, 0, "does not exist"},
		"root":                    {[]string{"--agent-user", "root", "--token", "x"}, 0, "use another user"},
		"root by number":          {[]string{"--agent-user", "0", "--token", "x"}, 0, "use another user"},
		"a group that nobody has": {[]string{"--agent-user", "65534:no-such-group", "--token", "x"}, 0, "does not exist"},
		"a number too high":       {[]string{"--agent-user", "4294967295", "--token", "x"}, 0, "does not exist"},
		"no token":                {[]string{"--agent-user", "65534"}, 0, "needs a token"},
		"no token, and said so":   {[]string{"--agent-user", "65534", "--no-token"}, 0, "needs a token"},
		"not root":                {[]string{"--agent-user", "65533", "--token", "x"}, ordinary, "only root"},
		"a home without a user":   {[]string{"--agent-home", dir}, 0, "only with --agent-user"},
		"data that the user owns": {[]string{"--agent-user", "65534", "--token", "x", "--data-dir", filepath.Join(open, "data"), "--agent-home", filepath.Join(dir, "home")}, 0, "can write to"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			data := filepath.Join(dir, "data")
			if test.uid != 0 {
				data = filepath.Join(open, "own")
			}
			cmd := exec.CommandContext(ctx, program, append([]string{"server", "--port", "0", "--data-dir", data}, test.args...)...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
			if test.uid != 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.uid, Gid: test.uid}}
			}
			out, err := cmd.CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}

package child

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

// hostEnv makes the test binary a host of children, for a test that kills it.
const hostEnv = "CHILD_TEST_HOST"

func TestMain(m *testing.M) {
	if os.Getenv(hostEnv) != "" {
		runHost()
		return
	}
	if os.Getenv(adopterEnv) != "" {
		runAdopter()
		return
	}
	if os.Getenv(markerEnv) != "" {
		runMarker()
		return
	}
	goleak.VerifyTestMain(m)
}

// runHost starts children of each kind, prints their ids and waits for its death.
func runHost() {
	for _, script := range []string{
		`echo $$; exec sleep 1000`,
		`trap '' HUP TERM; sh -c 'trap "" HUP TERM; echo $$; sleep 1000 & wait' & wait`,
		`set -m; sleep 1000 & echo $!; wait`,
		`nohup sleep 1000 2>/dev/null & echo $!`, // the leader ends
	} {
		c, err := Start(sh(script))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		line, _ := bufio.NewReader(c.Stdout).ReadString('\n')
		fmt.Print(line)
	}
	// One that is over must not confuse the guard.
	c, err := Start(sh(`exit`))
	if err == nil {
		<-c.Done()
	}
	fmt.Println("ready")
	select {}
}

func TestGuardEndsChildrenOfKilledProgram(t *testing.T) {
	host := exec.Command(os.Args[0])
	host.Env = []string{hostEnv + "=1", "PATH=/usr/bin:/bin"}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		pids = append(pids, pidOf(t, lines.Text()))
	}
	if len(pids) != 4 {
		t.Errorf("host started %d children", len(pids))
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d ended by itself", pid)
		}
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool { return !alive(pid) })
	}
}

func TestGuardIsReplaced(t *testing.T) {
	start(t, sh(`exec sleep 1000`))
	guard.mu.Lock()
	old := guard.cmd.Process
	guard.mu.Unlock()
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "old guard is dead", func() bool { return !alive(old.Pid) })
	start(t, sh(`exec sleep 1000`))
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if guard.cmd.Process.Pid == old.Pid || len(guard.sessions) < 2 {
		t.Errorf("guard %d, sessions %v", guard.cmd.Process.Pid, guard.sessions)
	}
}

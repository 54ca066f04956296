package cli_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A service manager is notified when the server answers and when it begins to end,
// and what the server starts does not know of it.
func TestServerNotifiesTheServiceManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if err := manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		t.Helper()
		datagram := make([]byte, 256)
		n, err := manager.Read(datagram)
		if err != nil {
			t.Fatal(err)
		}
		return string(datagram[:n])
	}

	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir, "GORACE=" + noRaceSleep}
	server, endpoint := serveAt(t, append(env, "NOTIFY_SOCKET="+socket), 0)
	defer server.Process.Kill()
	if got := state(); got != "READY=1" {
		t.Errorf("state %q after the start", got)
	}
	show := exec.Command("sandbox-agent", "process", "run", "--endpoint", endpoint, "--", "env")
	show.Env = env
	if out, err := show.CombinedOutput(); err != nil || strings.Contains(string(out), "NOTIFY_SOCKET") {
		t.Errorf("a process has the environment\n%s%v", out, err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "STOPPING=1" {
		t.Errorf("state %q after SIGTERM", got)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

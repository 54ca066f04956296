package sandboxagent_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent"
)

// A server that is killed in the middle of a turn and started again costs that
// turn and nothing else: the client finds its way back.
func TestServerIsKilledAndStartedAgain(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	home := t.TempDir()
	opts := sandboxagent.StartOptions{
		Binary: os.Args[0], Port: port, Token: "secret", Dir: home,
		Env: append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, "data")),
	}
	first, err := sandboxagent.Start(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	session, err := first.CreateSession(testContext(t), "mock", sandboxagent.CreateSessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Prompt(testContext(t), sandboxagent.Text("/echo the word is swordfish")); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		turn *sandboxagent.Turn
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		turn, err := session.Prompt(testContext(t), sandboxagent.Text("/silence"))
		ended <- outcome{turn, err}
	}()
	waitBusy(t, session)
	server, err := os.FindProcess(first.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	second, err := sandboxagent.Start(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	got := <-ended
	if got.err == nil {
		t.Errorf("turn is %+v without an error", got.turn)
	}
	turn, err := session.Prompt(testContext(t), sandboxagent.Text("what did I say"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(turn.Text, "swordfish") || session.Restored() == "" {
		t.Errorf("restored %q, it said %q", session.Restored(), turn.Text)
	}
}

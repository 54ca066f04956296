package child

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestStartDetached(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d, err := StartDetached(Spec{
		Path: "sh", Args: []string{"-c", `read line || echo no input; ps -o sid= -p $$ >&2; exit 3`}, Env: []string{"PATH=" + os.Getenv("PATH")},
	}, out)
	if err != nil {
		t.Fatal(err)
	}
	<-d.Done()
	if d.String() != "exit status 3" {
		t.Errorf("ended with %s", d)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(text)); len(got) != 3 || got[2] != strconv.Itoa(d.PID()) {
		t.Errorf("said %q; want no input, and a session of its own, %d", text, d.PID())
	}
	if _, err := StartDetached(Spec{Path: "no-such-program", Env: []string{"PATH=/bin"}}, out); err == nil {
		t.Error("started a program that there is not")
	}
}

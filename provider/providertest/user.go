package providertest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// unprivileged is the user that the tests run as when root runs them.
const unprivileged = 65534

// RunUnprivileged runs other tests of this binary again as an ordinary user, if
// this process is root. Their names match a pattern, and they get the flags.
func RunUnprivileged(t *testing.T, pattern string, flags ...string) {
	if os.Geteuid() != 0 {
		return // they run as an ordinary user already
	}
	dir := TempDir(t)
	binary := filepath.Join(dir, "tests")
	if err := copyProgram(self(), binary); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(temp, unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
	user := fmt.Sprint(unprivileged)
	cmd := exec.Command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", binary, "-test.v", "-test.run", pattern)
	cmd.Args = append(cmd.Args, flags...)
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if passed := regexp.MustCompile(`(?m)^--- PASS: `).FindAll(out, -1); len(passed) == 0 {
		t.Error("no test ran as an ordinary user")
	}
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}

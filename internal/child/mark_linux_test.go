package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
	"github.com/sandboxagent/sandboxagent/internal/testkit"
)

// markerEnv makes the test binary a program without control groups whose children
// leave processes behind.
const markerEnv = "CHILD_TEST_MARKER"

// stray is a child and a process of it that has forked twice, made a session of its
// own, and keeps neither descriptors nor variables.
type stray struct {
	*Child
	left tree.Process
}

// leaveOne starts a child that leaves a process behind, and then goes on with a script.
func leaveOne(then string) (s stray, err error) {
	c, err := Start(sh(`(setsid sh -c '(setsid env -i /bin/sh -c "echo \$\$; exec /bin/sleep 1000 <&- >&- 2>&-" &)' &); ` + then))
	if err != nil {
		return s, err
	}
	s.Child = c
	line, err := bufio.NewReader(c.Stdout).ReadString('\n')
	if err != nil {
		return s, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return s, err
	}
	if !testkit.Until(func() bool {
		p, ok := tree.Find(pid)
		s.left = p
		return ok && p.Parent == os.Getpid()
	}) {
		return s, fmt.Errorf("process %d is not adopted", pid)
	}
	return s, nil
}

// runMarker prints what went wrong.
func runMarker() {
	if err := AdoptOrphans(); err != nil {
		fmt.Println(err)
	}
	closeGroups()
	for _, then := range []string{"exec sleep 1000", "exit"} {
		victim, err := leaveOne(then)
		if err != nil {
			fmt.Println(err)
			return
		}
		other, err := leaveOne(then)
		if err != nil {
			fmt.Println(err)
			return
		}
		if then == "exit" {
			if <-victim.Done(); !victim.Left() || !victim.Remains() {
				fmt.Println("a child that has ended is said to have left nothing")
			}
		}
		if err := victim.Stop(0); err != nil {
			fmt.Println(err)
		}
		if victim.left.Alive() || victim.Remains() {
			fmt.Printf("%s: what the child has left is not killed\n", then)
		}
		if !other.left.Alive() {
			fmt.Printf("%s: what another child has left is killed too\n", then)
		}
		if err := other.Stop(0); err != nil {
			fmt.Println(err)
		}
		victim.CloseStreams()
		other.CloseStreams()
	}
	EndOrphans()
}

// The end of one child reaches what has left it in every way that there is, and
// nothing of another child, where there are no control groups.
func TestStopReachesWhatForkedTwiceWithoutGroups(t *testing.T) {
	c, err := Start(Spec{Path: os.Args[0], Env: []string{markerEnv + "=1", "PATH=/usr/bin:/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(0) })
	out, err := io.ReadAll(c.Stdout)
	failure := readAll(t, c.Stderr)
	if <-c.Done(); err != nil || len(out) > 0 || c.Exit().Code == nil || *c.Exit().Code != 0 {
		t.Errorf("%s, %v, %s: %s", out, err, c.Exit(), failure)
	}
}

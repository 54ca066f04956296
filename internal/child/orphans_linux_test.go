package child

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// adopterEnv makes the test binary a program that adopts orphans.
const adopterEnv = "CHILD_TEST_ADOPTER"

// runAdopter starts many children at once, each of which leaves one behind, and
// prints what went wrong. One of those left has a session of its own, so that it
// cannot be told whose it was. It ends when no child is left but the guard.
func runAdopter() {
	if err := AdoptOrphans(); err != nil {
		fmt.Println(err)
	}
	var children sync.WaitGroup
	for i := range 200 {
		children.Go(func() {
			c, err := Start(sh(fmt.Sprintf(`sh -c 'sleep 0.0%d; exit 7' & exit %d`, i%10, i%100)))
			if err != nil {
				fmt.Println(err)
				return
			}
			if <-c.Done(); c.Exit().Code == nil || *c.Exit().Code != i%100 {
				fmt.Printf("child %d: %s\n", i, c.Exit())
			}
			c.CloseStreams()
		})
	}
	children.Wait()
	c, err := Start(sh(`sleep 1000 & echo $!`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.CloseStreams()
	pid, err := bufio.NewReader(c.Stdout).ReadString('\n')
	if <-c.Done(); err != nil || !strings.Contains(strings.Join(ownChildren(), ""), strings.TrimSpace(pid)+" (") {
		fmt.Printf("orphan %s was not adopted, %v\n", pid, err)
	}
	if err := c.Stop(0); err != nil {
		fmt.Println(err)
	}
	daemon, err := Start(sh(`setsid sh -c 'trap "" TERM; echo; sleep 1000; sleep 1000' & read -r line; exit`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer daemon.CloseStreams()
	if _, err := bufio.NewReader(daemon.Stdout).ReadString('\n'); err != nil {
		fmt.Println(err)
	}
	<-daemon.Done()
	if err := daemon.Stop(0); err != nil {
		fmt.Println(err)
	}
	EndOrphans()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		left := ownChildren()
		if len(left) == 1 {
			return
		}
		if time.Now().After(deadline) {
			fmt.Printf("children are left: %q\n", left)
			return
		}
	}
}

// ownChildren returns the lines of the process table for children of this
// program, zombies too.
func ownChildren() []string {
	var lines []string
	names, _ := os.ReadDir("/proc")
	for _, name := range names {
		stat, err := os.ReadFile("/proc/" + name.Name() + "/stat")
		_, rest, ok := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); err == nil && ok && len(fields) > 1 && fields[1] == fmt.Sprint(os.Getpid()) {
			lines = append(lines, string(stat))
		}
	}
	return lines
}

func TestAdoptedOrphansLeaveNoZombies(t *testing.T) {
	c, err := Start(Spec{Path: os.Args[0], Env: []string{adopterEnv + "=1", "PATH=/usr/bin:/bin"}})
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

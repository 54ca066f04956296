package child

import (
	"os"
	"testing"
)

func threads(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestRunningChildrenHoldNoThread(t *testing.T) {
	const children = 40
	before := threads(t)
	for range children {
		spec := sh("echo; read line")
		spec.Stdin = true
		readLine(t, start(t, spec).Stdout)
	}
	if grown := threads(t) - before; grown >= children/2 {
		t.Errorf("%d children brought %d threads", children, grown)
	}
}

package app

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachineBoundsAgents(t *testing.T) {
	for _, test := range []struct {
		name   string
		m      machine
		agents int
	}{
		{"nothing known", machine{}, 4096},
		{"files", machine{files: 20_000}, 2500},
		{"processes", machine{files: 1 << 20, pids: 512}, 64},
		{"memory", machine{files: 1 << 20, memory: 8 << 30}, 1024},
		{"small", machine{files: 64, pids: 10, memory: 1 << 20}, 16},
	} {
		if got := test.m.agents(); got != test.agents {
			t.Errorf("%s: %d agents, want %d", test.name, got, test.agents)
		}
	}
	if m := thisMachine(); m.files == 0 || m.memory == 0 || m.agents() < 16 || m.connections() < 64 {
		t.Errorf("this machine is %+v", m)
	}
}

// TestControlGroupsBoundTheMachine reads limits of both hierarchies, of the group and
// of those above it.
func TestControlGroupsBoundTheMachine(t *testing.T) {
	for _, test := range []struct {
		name   string
		groups string
		files  map[string]string
		want   machine
	}{
		{"unified", "0::/a/b\n", map[string]string{"a/b/pids.max": "max\n", "a/pids.max": "100\n", "a/b/memory.max": "1000\n"}, machine{pids: 100, memory: 1000}},
		{"root", "0::/\n", map[string]string{"pids.max": "7\n"}, machine{pids: 7}},
		{"version 1", "9:pids:/x\n4:memory:/y\n1:name=systemd:/x\n", map[string]string{"pids/x/pids.max": "5\n", "memory/memory.limit_in_bytes": "6\n"}, machine{pids: 5, memory: 6}},
		{"lowest counts", "0::/a\n", map[string]string{"a/pids.max": "9\n", "pids.max": "3\n"}, machine{pids: 3}},
		{"not readable", "0::/gone\nnonsense\n", nil, machine{}},
	} {
		root := t.TempDir()
		for name, text := range test.files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var m machine
		m.within(root, test.groups)
		if m != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, m, test.want)
		}
	}
}

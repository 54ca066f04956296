package memory

import (
	"os"
	"path/filepath"
	"testing"
)

func TestConstantPart(t *testing.T) {
	const exe = "/usr/bin/sandbox-agent"
	for line, want := range map[string]bool{
		"00400000-00df8000 r-xp 00000000 fe:00 123 " + exe + "\n":          true,
		"00df8000-017cd000 r--p 009f8000 fe:00 123 " + exe + "\n":          true,
		"017cd000-01853000 rw-p 013cd000 fe:00 123 " + exe + "\n":          false,
		"00400000-00df8000 r-xs 00000000 fe:00 123 " + exe + "\n":          false,
		"7f00000000-7f00001000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\n": false,
		"01853000-038a5000 rw-p 00000000 00:00 0 \n":                       false,
		"00df8000-00400000 r-xp 00000000 fe:00 123 " + exe + "\n":          false,
		"nonsense\n": false,
	} {
		from, to, ok := constantPart([]byte(line), exe)
		if ok != want || ok && (from == 0 || to <= from) {
			t.Errorf("%q: %x-%x, %v", line, from, to, ok)
		}
	}
}

// TestReleaseMemory goes on after the pages of the program were given back.
func TestReleaseMemory(t *testing.T) {
	ReleaseProgram()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

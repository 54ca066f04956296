package files

import (
	"os"
	"testing"
)

// TestRecoverRemovesDirectoriesThatChangesShared has two changes of a killed process
// below one directory, which the one that is undone first has made.
func TestRecoverRemovesDirectoriesThatChangesShared(t *testing.T) {
	f, dir := newFS(t)
	f.cfg.Notes = t.TempDir()
	older, newer := f.change(), f.change()
	older.hide(tempName(dir+"/in/a", "write")) // the note begins before the directory is there
	if err := newer.makeDirs(dir + "/in/b"); err != nil {
		t.Fatal(err)
	}
	if err := older.makeDirs(dir + "/in/a"); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/kept/file", "")
	for _, c := range []*change{older, newer} {
		c.file.Close() // as the kernel does for a killed process
	}
	if err := f.Recover(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "kept", "kept/file")
	if left, err := os.ReadDir(f.cfg.Notes); len(left) != 0 || err != nil {
		t.Errorf("notes %v, %v", left, err)
	}
}

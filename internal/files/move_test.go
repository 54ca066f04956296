package files

import (
	"os"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of the earlier server away, under their
// numbers.

func TestMoveOverwriteLosesNothing(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/d/kept", "data")
	put(t, dir+"/file", "data")
	move := func(from, to string) error { _, err := f.Move(t.Context(), from, to, true); return err }
	wantProblem(t, move("none", "d"), 400, api.CodePathNotFound, "invalid request: path not found: "+dir+"/none")
	for _, same := range []string{"file", "./file", dir + "//file", "d"} {
		if err := move(strings.TrimPrefix(same, "./"), same); err != nil {
			t.Errorf("onto itself: %v", err)
		}
	}
	wantProblem(t, move("d", "d/kept/x"), 502, api.CodeMoveIntoItself, "stream error: Invalid argument (os error 22)")
	wantProblem(t, move("d", "d/x"), 502, api.CodeMoveIntoItself, "")
	wantProblem(t, move("d/kept", "d"), 502, api.CodeMoveIntoItself, "")
	os.Symlink("d", dir+"/link")
	wantProblem(t, move("d", "link/x"), 502, api.CodeMoveIntoItself, "")
	os.Remove(dir + "/link")
	wantProblem(t, move("file", dir), 400, api.CodeProtectedPath, "")
	wantNames(t, dir, "d", "d/kept", "file")
	if content(t, dir+"/file") != "data" || content(t, dir+"/d/kept") != "data" {
		t.Error("contents changed")
	}
}

func TestMoveLeavesNoParents(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "x")
	_, err := f.Move(t.Context(), "none", "a/b/c", false)
	wantProblem(t, err, 400, api.CodePathNotFound, "")
	_, err = f.Move(t.Context(), "file", "a/b/"+strings.Repeat("n", 256), false)
	wantProblem(t, err, 502, api.CodeNameTooLong, "")
	wantNames(t, dir, "file")
}

func TestMove(t *testing.T) {
	f, dir := newFS(t)
	put(t, dir+"/file", "file")
	put(t, dir+"/d1/one", "1")
	put(t, dir+"/d2/two", "2")
	move := func(from, to string, overwrite bool) {
		t.Helper()
		if _, err := f.Move(t.Context(), from, to, overwrite); err != nil {
			t.Errorf("%s to %s: %v", from, to, err)
		}
	}
	_, err := f.Move(t.Context(), "file", "d1", false)
	wantProblem(t, err, 400, api.CodeAlreadyExists, "invalid request: destination already exists: "+dir+"/d1")
	move("file", "new/deep/file", false)
	move("d1", "d2", true)
	wantNames(t, dir, "d2", "d2/one", "new", "new/deep", "new/deep/file")
	move("new/deep/file", "d2", true)
	wantNames(t, dir, "d2", "new", "new/deep")
	move("new", "d2", true)
	wantNames(t, dir, "d2", "d2/deep")

	put(t, dir+"/a", "same")
	os.Link(dir+"/a", dir+"/b")
	move("a", "b", true)
	os.Symlink("b", dir+"/l")
	move("l", "moved", false)
	wantNames(t, dir, "b", "d2", "d2/deep", "moved")
}

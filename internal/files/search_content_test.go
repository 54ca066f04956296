package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// TestSearchFindsMatchesInLongLines puts a match at and around every edge at
// which content is read in pieces.
func TestSearchFindsMatchesInLongLines(t *testing.T) {
	f, dir := newFS(t)
	const needle = "needle"
	offsets := []int{0, 1, maxMatchText}
	for _, edge := range []int{lineBuffer, 2 * lineBuffer, bufferSize, bufferSize + lineBuffer, 3*bufferSize + 17} {
		for d := -len(needle) - 1; d <= 1; d++ {
			offsets = append(offsets, edge+d)
		}
	}
	for _, before := range []int{0, 1, 70_000} {
		for _, at := range offsets {
			var text bytes.Buffer
			for range before {
				text.WriteString("z\n")
			}
			fmt.Fprintf(&text, "%s%s%s\nafter needle", strings.Repeat("é", at/2), strings.Repeat("x", at%2)+needle, strings.Repeat("y", 100))
			put(t, dir+"/text", text.String())
			for _, req := range []api.FileSearchRequest{
				{Content: needle}, {Content: "n[e]{2}dle", Regex: true}, {Content: "NEEDLE", IgnoreCase: true},
			} {
				var got []string
				_, err := f.Search(t.Context(), req, func(m api.FileSearchMatch) error {
					got = append(got, fmt.Sprintf("%d:%d", m.Line, m.Column))
					return nil
				})
				want := []string{fmt.Sprintf("%d:%d", before+1, at+1), fmt.Sprintf("%d:7", before+2)}
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%+v, %d lines before, column %d: %q, %v; want %q", req, before, at+1, got, err, want)
				}
			}
		}
	}
}

func TestSearchCountsLinesAfterLongOnes(t *testing.T) {
	f, dir := newFS(t)
	long := strings.Repeat("l", bufferSize+5)
	put(t, dir+"/text", long+"\nneedle\n\n"+long+"needle"+long+"\nx needle\n"+long)
	got, _ := find(t, f, api.FileSearchRequest{Content: "needle"})
	want := []string{"text:2:1:needle", fmt.Sprintf("text:4:%d:%s", len(long)+1, long[:maxMatchText]), "text:5:3:x needle"}
	if !slices.Equal(got, want) {
		t.Errorf("got %.200q", got)
	}
	if got, _ := find(t, f, api.FileSearchRequest{Content: "^l+$", Regex: true}); len(got) != 2 {
		t.Errorf("%d lines are only l, want 2", len(got))
	}
}

// endless is a pipe that nothing is written to, as a file whose reads wait.
func endless(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); r.Close() })
	return r
}

func TestReadsThatWaitEndWithTheirContext(t *testing.T) {
	file := endless(t)
	ctx, cancel := context.WithCancel(t.Context())
	stop := endWith(ctx, file)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := file.Read(make([]byte, 1))
		ended <- err
	}()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the read goes on")
	}
}

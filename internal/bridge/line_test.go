package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// TestLinesAreThoseOfTheOutput reads lines of sizes around those of the buffers, in
// reads of several sizes, and compares them with what a plain reader finds.
func TestLinesAreThoseOfTheOutput(t *testing.T) {
	const limit = 200 << 10
	random := rand.New(rand.NewPCG(1, 2))
	var output strings.Builder
	for _, size := range []int{0, 1, smallBuffer - 2, smallBuffer - 1, smallBuffer, smallBuffer + 1, 3, largeBuffer - 1, largeBuffer, largeBuffer + 1, limit - 1, limit + largeBuffer, 5, 4 * limit, 7} {
		output.WriteString(strings.Repeat(string(rune('a'+random.IntN(26))), size) + "\n")
	}
	for range 2000 {
		output.WriteString(strings.Repeat("x", random.IntN(300)) + "\r\n")
	}
	output.WriteString("the end")
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "with the end": iotest.DataErrReader,
		"bytes": func(r io.Reader) io.Reader { return iotest.OneByteReader(r) },
	} {
		t.Run(name, func(t *testing.T) {
			lines := newLineReader(wrap(strings.NewReader(output.String())), limit)
			defer lines.release()
			plain := bufio.NewReader(strings.NewReader(output.String()))
			for {
				want, wantErr := plain.ReadBytes('\n')
				if want = bytes.TrimSpace(want); len(want) == 0 && wantErr == nil {
					continue
				}
				got, err := lines.next()
				if long, ok := errors.AsType[*longLineError](err); ok {
					if len(want) <= limit || long.size < int64(len(want)) {
						t.Fatalf("a line of %d bytes is too long, of %d", len(want), long.size)
					}
					continue
				}
				if len(want) == 0 {
					if err != io.EOF {
						t.Errorf("the end is %d bytes, %v", len(got), err)
					}
					return
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("line of %d bytes, %v; want %d", len(got), err, len(want))
				}
			}
		})
	}
}

// TestSilentOutputHoldsASmallBuffer reads much, and then nothing.
func TestSilentOutputHoldsASmallBuffer(t *testing.T) {
	r, w := io.Pipe()
	lines := newLineReader(r, 1<<20)
	defer lines.release()
	go func() {
		io.WriteString(w, strings.Repeat("x", 3*smallBuffer)+"\n")
		w.Close()
	}()
	if _, err := lines.next(); err != nil || lines.large == nil {
		t.Fatalf("a long line: %v", err)
	}
	if _, err := lines.next(); err != io.EOF || lines.large != nil {
		t.Errorf("a silent output: %v, holds the large buffer: %v", err, lines.large != nil)
	}
}

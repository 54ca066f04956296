package agents

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child"
)

const (
	headLines = 4 // of a child's output, kept for messages
	tailLines = 12
	maxLine   = 4 << 10 // bytes of a line that are kept
	stopGrace = 2 * time.Second
)

// output is the first and last lines that a child wrote.
type output struct {
	stdout, stderr tail
	exit           child.Exit
}

// all returns the lines of both streams, standard output first.
func (o *output) all() []string { return append(o.stdout.lines, o.stderr.lines...) }

// words returns what the child said, standard error before standard output.
func (o *output) words() string {
	lines := o.stderr.lines
	if len(lines) == 0 {
		lines = o.stdout.lines
	}
	return strings.Join(lines, "\n")
}

// tail keeps the first lines and the last ones; the words that matter stand at
// either end.
type tail struct {
	lines []string
}

func (t *tail) add(line string) {
	if len(t.lines) == headLines+tailLines {
		t.lines = append(t.lines[:headLines], t.lines[headLines+1:]...)
	}
	t.lines = append(t.lines, line)
}

// run starts a child without input, reads what it writes, and waits for its
// end. Each line is given to each, one at a time; lines for which it returns false
// are not kept. A nil each keeps all. When ctx
// ends the child is stopped and the error is that of ctx. An exit that is not 0
// is an error too; output is valid with every error but one of the start.
func run(ctx context.Context, spec child.Spec, each func(line string) (keep bool)) (*output, error) {
	proc, err := child.Start(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	o := &output{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for r, t := range map[io.ReadCloser]*tail{proc.Stdout: &o.stdout, proc.Stderr: &o.stderr} {
		wg.Go(func() {
			scanLines(r, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				if each == nil || each(line) {
					t.add(line)
				}
			})
		})
	}
	select {
	case <-proc.Done():
	case <-ctx.Done():
		err = ctx.Err()
	}
	// Also after its own end: what it started goes with it.
	stopErr := proc.Stop(stopGrace)
	wg.Wait()
	o.exit = proc.Exit()
	if err == nil && (o.exit.Code == nil || *o.exit.Code != 0) {
		err = exitError(o.exit)
	}
	return o, errors.Join(err, stopErr)
}

func exitError(exit child.Exit) error {
	if exit.Code == nil {
		return fmt.Errorf("ended by %s", exit.Signal)
	}
	return fmt.Errorf("exit code %d", *exit.Code)
}

// scanLines reads r to its end and closes it. Lines lose their end, blank ones
// are left out, and of long ones the beginning is given.
func scanLines(r io.ReadCloser, each func(string)) {
	defer r.Close()
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, more, err := br.ReadLine()
		if err != nil {
			return
		}
		if text := string(bytes.TrimRight(line, " \t\r")); text != "" {
			each(strings.ToValidUTF8(text, "?"))
		}
		for more && err == nil {
			_, more, err = br.ReadLine()
		}
	}
}

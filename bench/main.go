// Command bench measures this server and the earlier one, the npm package
// @sandbox-agent/cli, in turns on the same work, and writes a table of both.
//
// Both servers are other processes and run the same scripted agent, which is
// this program started again. The load generator shares the machine with what
// it measures, so it does as little as it can for each byte.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "agent":
			exit(runAgent(os.Stdin, os.Stdout))
		case "emit":
			exit(runEmit(os.Args[2:], os.Stdout))
		case "reference":
			exit(runReference(os.Stdin, os.Stdout))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	only   string
	rounds int
	ours   string
	peer   string
	out    string
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.only, "only", "", "comma-separated `names` of the work to do; all if empty")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each side does each work")
	flags.StringVar(&o.ours, "ours", "", "`path` of this server's binary; built if there is none in bin/")
	flags.StringVar(&o.peer, "peer", "", "`path` of the peer's binary; installed with npm if empty")
	flags.StringVar(&o.out, "out", "", "`file` for the results; bench/RESULTS.md if all work was done")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: go run ./bench [flags]")
		flags.PrintDefaults()
		fmt.Fprintln(flags.Output(), "names:", strings.Join(workNames(), " "))
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.rounds > 100 {
		return fmt.Errorf("-rounds %d: use 1 to 100", o.rounds)
	}
	alone := !slices.ContainsFunc(chosen, func(w work) bool { return w.oursOnly == "" })
	lab, err := openLab(ctx, o, alone)
	if err != nil {
		return err
	}
	defer lab.close()
	rep := newReport(lab, args, o.rounds)
	for _, w := range chosen {
		rep.add(lab.measure(ctx, w, o.rounds))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if o.out == "" && o.only == "" {
		o.out = filepath.Join("bench", "RESULTS.md")
	}
	if o.out == "" {
		return nil
	}
	return rep.save(o.out)
}

// choose returns the work with the given names, in the order of the list.
func choose(only string) ([]work, error) {
	if only == "" {
		return allWork, nil
	}
	var chosen []work
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.Contains(workNames(), name) {
			return nil, fmt.Errorf("no work is named %q; there are: %s", name, strings.Join(workNames(), " "))
		}
	}
	for _, w := range allWork {
		if slices.Contains(names, w.name) {
			chosen = append(chosen, w)
		}
	}
	return chosen, nil
}

func workNames() []string {
	var names []string
	for _, w := range allWork {
		names = append(names, w.name)
	}
	return names
}

// allWork is everything that is measured, in the order of the report.
var allWork = slices.Concat(serverWork, acpWork, fileWork, processWork, sandboxWork)

// newReader is for streams that are read at full speed.
func newReader(r interface{ Read([]byte) (int, error) }) *bufio.Reader {
	return bufio.NewReaderSize(r, 256<<10)
}

// Command mock is the mock agent alone, small enough to run a thousand of.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sandboxagent/sandboxagent/internal/fakeagent"
)

func main() {
	if err := fakeagent.Run(context.Background(), os.Stdin, os.Stdout, fakeagent.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

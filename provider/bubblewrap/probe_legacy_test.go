//go:build linux && !amd64

package bubblewrap_test

import "fmt"

var legacyWays []string

func legacySetID(way string, _ uintptr, _ func(string) uintptr) error {
	return fmt.Errorf("no way %q", way)
}

func foreignPrograms() map[string][]byte { return nil }

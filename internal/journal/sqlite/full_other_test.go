//go:build !linux

package sqlite

import "errors"

const fullEnv = "JOURNAL_TEST_FULL"

func fullDisk(string, string) error { return errors.New("needs a mount namespace") }

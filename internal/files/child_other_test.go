//go:build !linux

package files

import "errors"

func mountTmpfs(string) error { return errors.ErrUnsupported }

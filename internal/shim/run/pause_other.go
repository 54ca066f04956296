//go:build !linux

package run

import "errors"

func stopAll() ([]int, error) { return nil, errors.ErrUnsupported }

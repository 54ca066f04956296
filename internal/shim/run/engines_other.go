//go:build !linux

package run

var engines = map[string]engine{"local": local{}}

//go:build !linux

package permission

func onProc(string) bool { return false }

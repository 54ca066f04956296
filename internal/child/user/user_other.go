//go:build !linux

package user

import (
	"errors"
	"syscall"
)

// Check returns an error: only Linux has rights of a thread.
func (u *User) Check() error { return errors.New("starting programs as another user needs Linux") }

// Do calls f.
func (u *User) Do(f func() error) error { return f() }

// Start calls f.
func (u *User) Start(f func() error) error { return f() }

// Credential is what a program is started with to run as the user.
func (u *User) Credential() *syscall.Credential { return &syscall.Credential{Uid: u.UID, Gid: u.GID} }

func (u *User) mayReplaceIn(string) bool { return false }

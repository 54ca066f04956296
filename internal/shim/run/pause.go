package run

import (
	"syscall"

	"github.com/sandboxagent/sandboxagent/provider"
)

// pause stops all that runs in the sandbox where it is.
func (b *box) pause() error {
	if b.status.State == provider.Paused {
		return nil
	}
	var err error
	if b.groups.pause() == "freezer" {
		err = b.groups.freeze(true)
	} else {
		b.stopped, err = stopAll()
	}
	if err != nil {
		b.thaw()
		return err
	}
	return b.become(provider.Paused, "")
}

// resume lets it go on.
func (b *box) resume() error {
	if b.status.State != provider.Paused {
		return nil
	}
	b.thaw()
	return b.become(provider.Running, "")
}

func (b *box) thaw() {
	if b.groups.pause() == "freezer" {
		_ = b.groups.freeze(false)
		return
	}
	for _, pid := range b.stopped {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	b.stopped = nil
}

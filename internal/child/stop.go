package child

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/child/tree"
)

// Signal sends signals, one after the other, to the process group, to every
// process of the session and to every descendant, also to those that outlived the
// process. It returns [os.ErrProcessDone] if nothing was there to get them.
func (c *Child) Signal(signals ...syscall.Signal) error {
	exited := c.Exited()
	if exited && !c.Remains() {
		return os.ErrProcessDone
	}
	// The table first: once a parent is dead, nothing shows whose child an orphan
	// was. Then the group in one call, so that none of it forks in between.
	all := c.members(tree.Table())
	c.signalled.Store(&all)
	session := !exited || remains(c.pid) // else the number may be that of another
	var reached bool
	var failure error
	for _, sig := range signals {
		if session {
			if err := syscall.Kill(-c.pid, sig); err == nil {
				reached = true
			} else if !errors.Is(err, syscall.ESRCH) {
				failure = err
			}
		}
		for _, p := range all {
			if group, err := syscall.Getpgid(p.PID); session && err == nil && group == c.pid {
				continue // has it already
			}
			if syscall.Kill(p.PID, sig) == nil {
				reached = true
			}
		}
	}
	switch {
	case reached:
		return nil
	case failure != nil:
		return fmt.Errorf("signal process: %w", failure)
	}
	return os.ErrProcessDone
}

// Remains reports whether anything of the child outlived the process, which has been
// waited for. Where nothing is left, nothing comes.
func (c *Child) Remains() bool {
	if !c.empty.Load() && c.groupEmpty() && !remains(c.pid) && !c.signalledRemain() && len(c.strays()) == 0 {
		c.over()
	}
	return !c.empty.Load()
}

func (c *Child) signalledRemain() bool {
	before := c.signalled.Load()
	return before != nil && slices.ContainsFunc(*before, tree.Process.Alive)
}

// Stop ends the process and everything it left behind.
// It closes Stdin, waits half of grace, sends SIGTERM to all that is left, waits the
// other half, and then sends SIGKILL. Without grace it kills at once. It returns when
// they are gone, with an error only if even SIGKILL did not end them in time.
//
// What is still in the pipes can be read from Stdout and Stderr afterwards; then
// they end.
func (c *Child) Stop(grace time.Duration) error {
	c.stopping.Lock()
	defer c.stopping.Unlock()
	if grace > 0 && (!c.Exited() || c.Remains()) {
		c.ask(grace)
	}
	err := c.kill()
	c.endOutput(time.Now())
	return err
}

// ask gives the process, and what it has started, the chance to end by themselves. One
// that is about to is left alone, since its input would no longer show what it has read.
func (c *Child) ask(grace time.Duration) {
	if ending(c.pid) {
		c.waitFor(killWait)
	} else if c.tty == nil && c.Stdin != nil {
		_ = c.Stdin.Close()
		c.waitFor(grace / 2)
		grace -= grace / 2
	}
	if c.gone() {
		return
	}
	// A terminal's shell ignores SIGTERM, but heeds a hang-up.
	if c.tty != nil {
		_ = c.Signal(syscall.SIGHUP)
	}
	_ = c.Signal(syscall.SIGTERM, syscall.SIGCONT) // a stopped process gets no other signal
	deadline := time.Now().Add(grace)
	c.waitFor(grace)
	// What a shell has started ends after the shell.
	for pause := time.Millisecond; !c.gone() && time.Now().Before(deadline); pause = min(2*pause, 20*time.Millisecond) {
		time.Sleep(pause)
	}
}

// gone reports whether nothing of the child is left.
func (c *Child) gone() bool { return c.Exited() && !c.Remains() }

func (c *Child) waitFor(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// kill sends SIGKILL until nothing is left.
func (c *Child) kill() error {
	deadline := time.Now().Add(killWait)
	if !c.Exited() || c.Remains() {
		c.grouped.RLock()
		c.group.Signal(syscall.SIGKILL)
		c.grouped.RUnlock()
		tree.Kill(c.members, killWait, nil)
		_ = c.Signal(syscall.SIGKILL) // where there is no table
	}
	for pause := time.Millisecond; !c.waitFor(pause) || c.Remains(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("stop process %d: still there %v after SIGKILL", c.pid, killWait)
		}
		if c.Exited() {
			time.Sleep(pause) // those left behind are not children of ours to wait for
		}
	}
	unguardSession(c.pid)
	return nil
}

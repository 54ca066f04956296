package tree

import (
	"syscall"
	"time"
)

// Members says which processes of the table belong to a set. Those that belong to
// it once, and their descendants, belong to it as long as they live.
type Members func(table []Process) []Process

// set is what was found of some members so far.
type set struct {
	members Members
	seen    map[id]bool
}

// id names a process for ever.
type id struct {
	pid   int
	start uint64
}

func (p Process) id() id { return id{p.PID, p.Start} }

// scan returns the living processes of the set, parents before their children.
func (s *set) scan() []Process {
	table := Table()
	in := make(map[int]bool)
	for _, p := range s.members(table) {
		in[p.PID] = true
	}
	return Below(table, func(p Process) bool { return in[p.PID] || s.seen[p.id()] })
}

// Stop sends SIGSTOP to the members, until two scans in a row find nothing new and
// all stand still: what is stopped does not fork. It returns those that ran before,
// for [Continue]. complete is false if something still ran after limit, such as what
// belongs to another user. first, if not nil, is called once, after the first scan.
func Stop(members Members, limit time.Duration, first func()) (stopped []Process, complete bool) {
	s := &set{members, make(map[id]bool)}
	return s.stop(time.Now().Add(limit), first)
}

func (s *set) stop(deadline time.Time, first func()) (stopped []Process, complete bool) {
	quiet := 0
	for pause := 100 * time.Microsecond; ; {
		still, grown := true, false
		for _, p := range s.scan() {
			if !s.seen[p.id()] {
				s.seen[p.id()], grown = true, true
				if p.Stopped() {
					continue
				}
				stopped = append(stopped, p)
				send(p, syscall.SIGSTOP)
			}
			still = still && p.Still()
		}
		if first != nil {
			first()
			first = nil
		}
		if quiet++; grown || !still {
			quiet = 0
		}
		switch {
		case quiet == 2 || len(s.seen) == 0:
			return stopped, true
		case time.Now().After(deadline):
			return stopped, false
		case !grown:
			time.Sleep(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

// longestPause is how long processes are left alone between two looks at them.
const longestPause = 5 * time.Millisecond

// Continue lets go on what [Stop] has stopped, children before their parents, so
// that no shell takes its job for one that its user stopped.
func Continue(stopped []Process) {
	for i := len(stopped) - 1; i >= 0; i-- {
		send(stopped[i], syscall.SIGCONT)
	}
}

// Strike is [Kill] for a program that ends with it: it does not wait until what it has
// killed is gone, but until two scans in a row find nothing that it has not killed. What
// is to be killed is stopped before, which takes up to pause. Strike gives up after limit.
func Strike(members Members, pause, limit time.Duration) {
	deadline := time.Now().Add(limit)
	s := &set{members, make(map[id]bool)}
	s.stop(time.Now().Add(pause), nil)
	struck := make(map[id]bool)
	for quiet := 0; quiet < 2; quiet++ {
		for _, p := range s.scan() {
			if !struck[p.id()] {
				struck[p.id()], s.seen[p.id()] = true, true
				send(p, syscall.SIGKILL)
				quiet = -1
			}
		}
		if time.Now().After(deadline) {
			return
		}
	}
}

// Kill stops the members, so that none forks, and sends them SIGKILL until none is
// left. reap, if not nil, is called after each round, to wait for what has ended.
// complete is false if something is left after limit.
func Kill(members Members, limit time.Duration, reap func()) (complete bool) {
	deadline := time.Now().Add(limit)
	s := &set{members, make(map[id]bool)}
	s.stop(time.Now().Add(limit/4), nil)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, longestPause) {
		left := s.scan()
		for _, p := range left {
			s.seen[p.id()] = true
			send(p, syscall.SIGKILL)
		}
		if reap != nil {
			reap()
		}
		switch {
		case len(left) == 0:
			return true
		case time.Now().After(deadline):
			return false
		}
		time.Sleep(pause)
	}
}

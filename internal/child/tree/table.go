// Package tree reads the process table, and stops, continues and kills all
// processes of a set, although they fork meanwhile.
//
// It imports little, since the smallest of our processes lives on it: the parent of
// a server (see package reaper).
package tree

import (
	"strconv"
	"syscall"
)

// Process is what we need of one line of the process table.
type Process struct {
	PID, Parent, Session int
	State                byte   // as in /proc/PID/stat: R, S, D, T, t
	Start                uint64 // with PID it names a process for ever
}

// Still reports whether a process runs nothing: it is stopped, or waits inside the
// kernel where no signal wakes it.
func (p Process) Still() bool { return p.State == 'T' || p.State == 't' || p.State == 'D' }

// Stopped reports whether a process was stopped by a signal.
func (p Process) Stopped() bool { return p.State == 'T' }

// Below returns the processes of the table for which in is true and all their
// descendants.
func Below(table []Process, in func(Process) bool) []Process {
	found := make(map[int]bool)
	var all []Process
	add := func(p Process) {
		found[p.PID] = true
		all = append(all, p)
	}
	for _, p := range table {
		if in(p) {
			add(p)
		}
	}
	if len(all) == 0 {
		return nil
	}
	for grown := true; grown; {
		grown = false
		for _, p := range table {
			if found[p.Parent] && !found[p.PID] {
				add(p)
				grown = true
			}
		}
	}
	return all
}

// DescendantsOf says what the descendants of a process are, without it.
func DescendantsOf(pid int) Members {
	return func(table []Process) []Process {
		return Below(table, func(p Process) bool { return p.Parent == pid })
	}
}

// parseStat reads a line of /proc/PID/stat, whose second field is a name in
// parentheses that may hold blanks and parentheses itself. ok is false for a
// zombie, as nothing can be done to one.
func parseStat(pid int, stat []byte) (p Process, ok bool) {
	end := len(stat) - 1
	for end >= 0 && stat[end] != ')' {
		end--
	}
	if end < 0 {
		return p, false
	}
	p.PID = pid
	field := 2 // the number of the field, as in proc(5)
	for rest := stat[end+1:]; len(rest) > 0; {
		var text []byte
		if text, rest = cut(rest); len(text) == 0 {
			continue
		}
		field++
		switch field {
		case 3:
			p.State = text[0]
		case 4, 6, 22:
			n, err := strconv.ParseInt(string(text), 10, 64)
			if err != nil {
				return p, false
			}
			switch field {
			case 4:
				p.Parent = int(n)
			case 6:
				p.Session = int(n)
			default:
				p.Start = uint64(n)
			}
		}
		if field == 22 {
			break
		}
	}
	return p, field >= 6 && p.State != 'Z' && p.State != 'X' && p.State != 'x'
}

// cut returns what stands before the first blank, and after it.
func cut(b []byte) (before, after []byte) {
	for i, c := range b {
		if c == ' ' || c == '\n' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// In reports whether a list has the process, in whatever state.
func (p Process) In(list []Process) bool {
	for _, other := range list {
		if other.PID == p.PID && other.Start == p.Start {
			return true
		}
	}
	return false
}

// Alive reports whether p is still the process of its number, and no zombie.
func (p Process) Alive() bool {
	now, ok := Find(p.PID)
	return ok && now.Start == p.Start
}

// send sends a signal to a process, unless its number belongs to another by now.
func send(p Process, sig syscall.Signal) {
	if p.Alive() {
		_ = syscall.Kill(p.PID, sig)
	}
}

package tree

import (
	"strconv"
	"sync"
	"syscall"
)

// scan is one reading of /proc.
type scan struct {
	done  sync.Mutex // held until table is there
	table []Process
}

var (
	nextMu  sync.Mutex
	next    *scan      // that has not begun; nil if nobody waits for one
	reading sync.Mutex // held around each scan
)

// Table reads /proc. Zombies are left out. Callers share a reading that began after all of
// them had called, since a thousand children that end at once need few; they must not
// change it.
func Table() []Process {
	nextMu.Lock()
	s := next
	if s != nil {
		nextMu.Unlock()
		s.done.Lock()
		defer s.done.Unlock()
		return s.table
	}
	s = new(scan)
	s.done.Lock()
	defer s.done.Unlock()
	next = s
	nextMu.Unlock()
	reading.Lock()
	defer reading.Unlock()
	nextMu.Lock()
	next = nil
	nextMu.Unlock()
	s.table = read()
	return s.table
}

// read reads /proc.
func read() []Process {
	dir, err := open("/proc", syscall.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer syscall.Close(dir)
	var table []Process
	var buf [512]byte
	var names []string
	entries := make([]byte, 16<<10)
	for {
		n, err := syscall.ReadDirent(dir, entries)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return table
		}
		_, _, names = syscall.ParseDirent(entries[:n], -1, names[:0])
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if p, ok := parseStat(pid, readStat(name, buf[:])); ok {
				table = append(table, p)
			}
		}
	}
}

// Find returns the process of a number. ok is false if there is none, or a zombie.
func Find(pid int) (p Process, ok bool) {
	var buf [512]byte
	return parseStat(pid, readStat(strconv.Itoa(pid), buf[:]))
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// readStat reads the stat file of a process, or nothing if it ended meanwhile. It
// does without os.File because a table has many.
func readStat(name string, buf []byte) []byte {
	fd, err := open("/proc/"+name+"/stat", 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

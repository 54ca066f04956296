package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// memory is what the kernel says of the memory of a server, in bytes.
type memory struct {
	resident int64 // proportional set size, which counts shared pages once
	peak     int64 // since resetPeak, of resident pages
	anon     int64
}

// memoryOf adds up the processes of a server.
func memoryOf(pids []int) (sum memory, err error) {
	for _, pid := range pids {
		kib := func(file, name string) (int64, error) {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil {
				return 0, fmt.Errorf("read memory use: %w", err)
			}
			for line := range bytes.Lines(data) {
				fields := bytes.Fields(line)
				if len(fields) == 3 && string(fields[0]) == name {
					return strconv.ParseInt(string(fields[1]), 10, 64)
				}
			}
			return 0, fmt.Errorf("read memory use: no %s", name)
		}
		for _, part := range []struct {
			file, name string
			to         *int64
		}{{"smaps_rollup", "Pss:", &sum.resident}, {"status", "VmHWM:", &sum.peak}, {"status", "RssAnon:", &sum.anon}} {
			n, err := kib(part.file, part.name)
			if err != nil {
				return memory{}, err
			}
			*part.to += n << 10
		}
	}
	return sum, nil
}

// resetPeak makes the present use of memory the peak.
func resetPeak(pids []int) (err error) {
	for _, pid := range pids {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
	}
	return err
}

// cpuOf is the processor time, in ticks of 10 ms, that the processes of a server have
// used so far, and that of their children which they have waited for.
func cpuOf(pids []int) (own, children time.Duration, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0, fmt.Errorf("read processor use: %w", err)
		}
		// The second field is a name in parentheses; after it, the twelfth to the
		// fifteenth are user and system time, own and of children.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) < 15 {
			return 0, 0, fmt.Errorf("read processor use: %q", data)
		}
		var ticks [4]int64
		for i := range ticks {
			if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
				return 0, 0, fmt.Errorf("read processor use: %w", err)
			}
		}
		const tick = time.Second / 100
		own += time.Duration(ticks[0]+ticks[1]) * tick
		children += time.Duration(ticks[2]+ticks[3]) * tick
	}
	return own, children, nil
}

// cpu is processor time used so far.
type cpu struct {
	machine time.Duration // by everything
	own     time.Duration // by this process and its ended children
}

func usage() cpu {
	var c cpu
	if data, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(data), "\n")
		for i, field := range strings.Fields(line) {
			// The fourth and fifth are idle time; guest time, from the ninth on,
			// is in user time already.
			if n, err := strconv.ParseInt(field, 10, 64); err == nil && i != 4 && i != 5 && i < 9 {
				c.machine += time.Duration(n) * (time.Second / 100)
			}
		}
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			c.own += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return c
}

// foreignSince returns how many cores were busy with the work of others.
func (c cpu) foreignSince(before cpu, wall time.Duration) float64 {
	busy := (c.machine - before.machine) - (c.own - before.own)
	return max(0, busy.Seconds()/wall.Seconds())
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(data))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// machine describes where this runs, one line.
func machine() string {
	kernel := "unknown kernel"
	if out, err := exec.Command("uname", "-sr").Output(); err == nil {
		kernel = strings.TrimSpace(string(out))
	}
	mem := "unknown memory"
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err == nil {
			mem = fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
		}
	}
	return fmt.Sprintf("%d cores (%s), %s, %s, %s, %s", runtime.NumCPU(), processor(), mem, kernel, runtime.GOARCH, runtime.Version())
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

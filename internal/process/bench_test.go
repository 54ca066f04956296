package process

import (
	"io"
	"syscall"
	"testing"

	"github.com/sandboxagent/sandboxagent/api"
)

func BenchmarkRunTrue(b *testing.B) {
	s := newSupervisor(b, Limits{})
	b.SetParallelism(2)
	reportCPU(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Run(b.Context(), api.ProcessRunRequest{Command: "/bin/true"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// reportCPU adds what this program itself spends on each operation, without its
// children. It depends less on the rest of the machine than the time that passes.
func reportCPU(b *testing.B) {
	used := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric((used()-before)/float64(b.N), "cpu-ns/op") })
}

func BenchmarkLogFollow(b *testing.B) {
	const size = 64 << 20
	s := newSupervisor(b, Limits{})
	b.SetBytes(size)
	for b.Loop() {
		id := create(b, s, script(`head -c 67108864 /dev/zero`))
		f, err := s.Follow(id, LogQuery{})
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err = f.Next(b.Context()); err != nil {
				break
			}
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkTerminalThroughput(b *testing.B) {
	const size = 16 << 20
	s := newSupervisor(b, Limits{})
	b.SetBytes(size)
	for b.Loop() {
		req := script(`stty raw; head -c 16777216 /dev/zero`)
		req.TTY = true
		id := create(b, s, req)
		v, err := s.View(id, new(uint64))
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err = v.Next(b.Context()); err != nil {
				break
			}
		}
		if v.Offset() != size {
			b.Fatalf("read %d bytes, %v", v.Offset(), err)
		}
	}
}

func BenchmarkTerminalEcho(b *testing.B) {
	s := newSupervisor(b, Limits{})
	req := script(`stty raw -echo; echo ready; exec cat`)
	req.TTY = true
	id := create(b, s, req)
	follow(b, s, id, "ready")
	v, err := s.View(id, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Input(b.Context(), id, []byte("x")); err != nil {
			b.Fatal(err)
		}
		if _, err := v.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

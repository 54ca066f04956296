package process

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// flood starts a process that writes so many bytes once it has got a line.
func flood(t *testing.T, s *Supervisor, size int) *process {
	t.Helper()
	id := create(t, s, script(fmt.Sprintf(`read go; head -c %d /dev/zero`, size)))
	p, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) follower(t *testing.T, s *Supervisor) *Follower {
	t.Helper()
	f, err := s.Follow(p.id, LogQuery{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (p *process) start(t *testing.T, s *Supervisor) {
	t.Helper()
	if _, err := s.Input(t.Context(), p.id, []byte("go\n")); err != nil {
		t.Fatal(err)
	}
}

// waitsForReader reports whether output waits until a reader has moved.
func (p *process) waitsForReader() bool {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.freed != nil
}

// taken is what a follower got.
type taken struct{ bytes, gaps int }

// take reads one batch and checks that nothing is missing without being told.
func (got *taken) take(f *Follower) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	before := f.cursor
	batch, err := f.Next(ctx)
	if err != nil {
		return err
	}
	if batch.Gap != nil {
		got.gaps++
		if batch.Gap.From != before+1 {
			return fmt.Errorf("gap from %d after %d", batch.Gap.From, before)
		}
		before = batch.Gap.To
	}
	for _, e := range batch.Entries {
		if before++; e.Sequence != before || e.SkippedBytes != 0 {
			return fmt.Errorf("entry %d, want %d, skipped %d bytes", e.Sequence, before, e.SkippedBytes)
		}
		got.bytes += len(e.Data)
	}
	return nil
}

func (got *taken) rest(t *testing.T, f *Follower) {
	t.Helper()
	for {
		if err := got.take(f); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("after %+v: %v", *got, err)
			return
		}
	}
}

func smallLogs(bytes int64, stall time.Duration) Limits {
	return Limits{Config: api.ProcessConfig{MaxLogBytesPerProcess: bytes}, FollowStall: stall, Drain: 10 * time.Millisecond}
}

func TestSlowFollowerLosesNothing(t *testing.T) {
	const size = 64 << 20
	s := newSupervisor(t, smallLogs(4<<20, time.Minute))
	p := flood(t, s, size)
	f := p.follower(t, s)
	defer f.Close()
	p.start(t, s)
	var got taken
	for got.bytes < size-8<<20 {
		eventually(t, "the process waits for the follower", p.waitsForReader)
		if err := got.take(f); err != nil {
			t.Fatal(err)
		}
	}
	got.rest(t, f)
	if got.bytes != size || got.gaps != 0 {
		t.Errorf("got %+v", got)
	}
}

// A process whose readers are on their way does not outrun them.
func TestAwaitedFollowersLoseNothing(t *testing.T) {
	s := newSupervisor(t, smallLogs(10_000, time.Minute))
	req := script(`head -c 300000 /dev/zero; echo end >&2`)
	req.AwaitReaders = 2
	id := create(t, s, req)
	p, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process waits", func() bool { p.out.mu.Lock(); defer p.out.mu.Unlock(); return p.out.freed != nil })
	var reads sync.WaitGroup
	for range 2 {
		reads.Go(func() {
			if text, gaps := follow(t, s, id, ""); len(text) != 300004 || gaps != 0 {
				t.Errorf("got %d bytes, %d gaps", len(text), gaps)
			}
		})
	}
	reads.Wait()
}

// What is in the pipe when a process ends is for a slow follower too, although
// the log has no room for it yet.
func TestEndIsKeptForSlowFollower(t *testing.T) {
	const size = 100_000
	s := newSupervisor(t, smallLogs(40_000, time.Minute))
	p := flood(t, s, size)
	f := p.follower(t, s)
	defer f.Close()
	p.start(t, s)
	var got taken
	for ended := false; !ended; {
		eventually(t, "the process waits or has ended", func() bool {
			select {
			case <-p.ended:
				ended = true
			default:
			}
			return ended || p.waitsForReader()
		})
		if !ended {
			if err := got.take(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the drain time has passed", func() bool {
		delayed, _ := p.out.wasDelayed()
		return delayed || got.bytes > size-40_000
	})
	got.rest(t, f)
	if got.bytes != size || got.gaps != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestStalledFollowerGetsGap(t *testing.T) {
	const size, kept = 5 << 20, 1 << 20
	s := newSupervisor(t, smallLogs(kept, 20*time.Millisecond))
	p := flood(t, s, size)
	f := p.follower(t, s)
	p.start(t, s)
	<-p.ended
	eventually(t, "output is read", func() bool { p.out.mu.Lock(); defer p.out.mu.Unlock(); return p.out.ended })
	var got taken
	got.rest(t, f)
	if got.bytes > kept || got.bytes < kept/2 || got.gaps != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestStalledFollowerDoesNotHoldUpAnother(t *testing.T) {
	const size = 16 << 20
	s := newSupervisor(t, smallLogs(1<<20, 300*time.Millisecond))
	p := flood(t, s, size)
	stalled, f := p.follower(t, s), p.follower(t, s)
	p.start(t, s)
	var got, late taken
	got.rest(t, f)
	if got.bytes != size || got.gaps != 0 {
		t.Errorf("follower got %+v", got)
	}
	late.rest(t, stalled)
	if late.bytes >= size || late.gaps != 1 {
		t.Errorf("stalled follower got %+v", late)
	}
}

func TestNobodyWaitsForFollowerThatLeft(t *testing.T) {
	s := newSupervisor(t, smallLogs(1<<20, time.Hour))
	p := flood(t, s, 5<<20)
	f := p.follower(t, s)
	p.start(t, s)
	eventually(t, "the process waits for the follower", p.waitsForReader)
	f.Close()
	f.Close()
	<-p.ended
}

func TestCloseDoesNotWaitForFollower(t *testing.T) {
	s := NewSupervisor(Config{Limits: smallLogs(1<<20, time.Hour)})
	for _, tty := range []bool{false, true} {
		req := script(`head -c 5000000 /dev/zero`)
		req.TTY = tty
		id := create(t, s, req)
		p, err := s.find(id)
		if err != nil {
			t.Fatal(err)
		}
		p.follower(t, s)
		eventually(t, "the process waits for the follower", p.waitsForReader)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestSlowViewerLosesNothing(t *testing.T) {
	const size = 2 << 20
	s := newSupervisor(t, smallLogs(256<<10, time.Minute))
	req := script(fmt.Sprintf(`stty raw -echo; read go; head -c %d /dev/zero`, size))
	req.TTY = true
	id := create(t, s, req)
	p, err := s.find(id)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.View(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p.start(t, s)
	eventually(t, "the terminal waits for the viewer", p.waitsForReader)
	data, gaps := view(t, v)
	zeros := 0
	for _, b := range data {
		if b == 0 {
			zeros++
		}
	}
	if zeros != size || gaps != 0 {
		t.Errorf("viewer got %d of %d bytes, %d gaps", zeros, size, gaps)
	}
}

// The bound of all logs together drops nothing that followers are about to take.
func TestTotalBoundKeepsWhatIsFollowed(t *testing.T) {
	const size, bound = 4 << 20, 1 << 20
	s := newSupervisor(t, Limits{MaxTotalLogBytes: bound, FollowStall: time.Minute})
	var followers []*Follower
	for range 2 {
		p := flood(t, s, size)
		followers = append(followers, p.follower(t, s))
		p.start(t, s)
	}
	var got [2]taken
	for i := 0; got[0].bytes < size || got[1].bytes < size; i = 1 - i {
		if got[i].bytes < size {
			if err := got[i].take(followers[i]); err != nil {
				t.Fatal(err)
			}
		}
		if held := s.logBytes.Load(); held > bound+2*(ownShare+maxRead) {
			t.Errorf("logs hold %d bytes", held)
		}
	}
	for i, f := range followers {
		got[i].rest(t, f)
		if got[i].bytes != size || got[i].gaps != 0 {
			t.Errorf("follower %d got %+v", i, got[i])
		}
	}
}

func TestJoinedPiecesAreOneEntry(t *testing.T) {
	l := newLog(1 << 20)
	block := []byte("one two three")
	l.append(api.LogStdout, block[:4])
	l.append(api.LogStdout, block[4:8])
	f := l.follow(api.LogCombined, 0)
	batch, err := f.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for _, e := range batch.Entries { // two if the millisecond was over
		text += string(e.Data)
	}
	last := batch.Entries[len(batch.Entries)-1].Sequence
	l.append(api.LogStdout, block[8:]) // not joined to what was seen
	if batch, err = f.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text != "one two " || len(batch.Entries) != 1 || batch.Entries[0].Sequence != last+1 || string(batch.Entries[0].Data) != "three" {
		t.Errorf("got %q and then %+v", text, batch.Entries)
	}
}

package process

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// The tests of this file keep faults of an earlier server from coming back. Their
// numbers are those of the list of these faults.

func TestFollowEnds(t *testing.T) {
	s := newSupervisor(t, Limits{Drain: 10 * time.Millisecond})
	for name, text := range map[string]string{
		"at once":              `echo done`,
		"grandchild holds log": `sleep 1000 & echo done`,
	} {
		t.Run(name, func(t *testing.T) {
			id := create(t, s, script(text))
			if got, _ := follow(t, s, id, ""); got != "done\n" { // fails if it does not end
				t.Errorf("log = %q", got)
			}
			if info, err := s.Get(id); err != nil || info.Status != api.ProcessExited {
				t.Errorf("followed to the end, but %+v, %v", info, err)
			}
		})
	}
}

func TestFinishedAreReaped(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		s := newSupervisor(t, Limits{MaxFinished: 2, Drain: time.Millisecond})
		background := create(t, s, script(`sleep 1000 & echo left`))
		follow(t, s, background, "")
		var last string
		for range 5 {
			last = create(t, s, script(`head -c 9000 /dev/zero`))
			follow(t, s, last, "")
			p, err := s.find(last)
			if err != nil {
				t.Fatal(err)
			}
			<-p.ended
		}
		eventually(t, "old ones are dropped", func() bool {
			list, err := s.List("")
			return err == nil && len(list.Processes) == 2 && s.logBytes.Load() < 2*9500
		})
		for _, id := range []string{background, last} { // what runs on, and the newest
			if _, err := s.Get(id); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("age", func(t *testing.T) {
		s := newSupervisor(t, Limits{FinishedAge: time.Nanosecond})
		id := create(t, s, script(`true`))
		running := create(t, s, script(`sleep 1000`))
		eventually(t, "old one is dropped", func() bool {
			if _, err := s.List(""); err != nil {
				t.Fatal(err)
			}
			_, err := s.Get(id)
			return code(err) == api.CodeProcessNotFound
		})
		if _, err := s.Get(running); err != nil {
			t.Error(err)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		s := newSupervisor(t, Limits{MaxTotalLogBytes: 1 << 20})
		for range 4 {
			id := create(t, s, script(`head -c 700000 /dev/zero`))
			follow(t, s, id, "")
			if held := s.logBytes.Load(); held > 1<<20+2*readSize {
				t.Errorf("logs hold %d bytes", held)
			}
		}
	})
}

func TestLogTellsWhatIsMissing(t *testing.T) {
	t.Run("old entries", func(t *testing.T) {
		l := newLog(100)
		for i := range 8 {
			l.append(api.LogStdout, bytes.Repeat([]byte{byte('1' + i)}, 31))
		}
		f := l.follow(api.LogCombined, 2)
		batch, err := f.Next(t.Context())
		if err != nil || batch.Gap == nil || *batch.Gap != (api.LogGap{From: 3, To: 5}) || len(batch.Entries) != 3 || batch.Entries[0].Sequence != 6 {
			t.Errorf("batch = %+v, gap %+v, %v", batch, batch.Gap, err)
		}
	})
	t.Run("chunk larger than the log", func(t *testing.T) {
		l := newLog(10)
		l.append(api.LogPTY, []byte("0123456789abcdef"))
		f := l.follow(api.LogPTY, 0)
		batch, err := f.Next(t.Context())
		if err != nil || batch.Gap != nil || len(batch.Entries) != 1 || string(batch.Entries[0].Data) != "6789abcdef" || batch.Entries[0].SkippedBytes != 6 {
			t.Errorf("batch = %+v, %v", batch, err)
		}
	})
	t.Run("pages", func(t *testing.T) {
		s := newSupervisor(t, Limits{})
		id := create(t, s, script(`for i in 1 2 3 4 5; do echo $i; sleep 0.02; done`))
		whole, _ := follow(t, s, id, "")
		var got strings.Builder
		var since uint64
		for more := true; more; {
			logs, err := s.Logs(id, LogQuery{Since: since, Limit: 1})
			if err != nil || len(logs.Entries) != 1 {
				t.Fatalf("logs = %+v, %v", logs, err)
			}
			got.Write(logs.Entries[0].Data)
			since, more = logs.Entries[0].Sequence, logs.More
		}
		if got.String() != whole || whole != "1\n2\n3\n4\n5\n" {
			t.Errorf("pages give %q, the whole is %q", got.String(), whole)
		}
	})
}

func TestOrderSignalAndTerminalEnd(t *testing.T) {
	s := newSupervisor(t, Limits{})
	for range 11 {
		create(t, s, script(`exit`))
	}
	list, err := s.List(api.OwnerUser)
	if err != nil || len(list.Processes) != 11 || list.Processes[1].ID != "proc_2" || list.Processes[10].ID != "proc_11" {
		t.Errorf("list = %+v, %v", list, err)
	}
	_, err = s.List("zzz")
	wantCode(t, err, api.CodeInvalidQuery, 400)

	req := script(`echo bye; kill -9 $$`)
	req.TTY = true
	id := create(t, s, req)
	if text, _ := follow(t, s, id, ""); text != "bye\r\n" {
		t.Errorf("terminal log = %q", text)
	}
	if info, err := s.Get(id); err != nil || info.ExitSignal != "SIGKILL" || info.ExitCode != nil {
		t.Errorf("info = %+v, %v", info, err)
	}
}

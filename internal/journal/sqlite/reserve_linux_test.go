package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/internal/journal"
)

// showOnFullDisk fills the disk at dir, shows entries that it cannot store,
// prints their numbers, and waits to be killed.
func showOnFullDisk(dir string) error {
	store, err := Open(filepath.Join(dir, "journal.db"))
	if err != nil {
		return err
	}
	j, err := journal.Open(store, journal.Options{RetryDelay: time.Millisecond})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for _, stream := range []string{"old", "new"} {
		if stream == "new" { // it begins on the full disk
			if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("the disk is not full: %w", err)
			}
			for j.Health() == nil {
				seq, err := j.Append("filler", journal.FromAgent, make([]byte, 64<<10))
				if err != nil {
					return err
				}
				_ = j.Wait(ctx, "filler", seq) // fails sooner or later
			}
		}
		if _, err := j.Append(stream, journal.FromAgent, []byte("x")); err != nil {
			return err
		}
		_ = j.Wait(ctx, stream, 1)
	}
	for _, stream := range []string{"old", "new"} {
		var last uint64
		for range 100 {
			if last, err = j.Append(stream, journal.FromAgent, []byte("x")); err != nil {
				return err
			}
		}
		r := j.Reader(stream, 0)
		for r.Cursor() < last {
			if _, err := r.Next(ctx); err != nil {
				return err
			}
		}
		fmt.Println(last)
	}
	select {}
}

// killOnFullDisk kills a process whose readers saw what it could not store, and
// looks for their numbers with the disk full, with room again, and later.
func killOnFullDisk(dir string) error {
	victim := exec.Command("/proc/self/exe")
	victim.Env = append(os.Environ(), fullEnv+"_DO=victim")
	victim.Stderr = os.Stderr
	out, err := victim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	shown := map[string]uint64{}
	lines := bufio.NewReader(out)
	for _, stream := range []string{"old", "new"} {
		line, err := lines.ReadString('\n')
		if err != nil {
			return errors.Join(err, victim.Wait())
		}
		if shown[stream], err = strconv.ParseUint(strings.TrimSpace(line), 10, 64); err != nil {
			return err
		}
	}
	if err := victim.Process.Kill(); err != nil {
		return err
	}
	_ = victim.Wait()
	for _, when := range []string{"the disk is full", "there is room", "later"} {
		if when == "there is room" {
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				return err
			}
		}
		if err := numbersGoOn(dir, shown, when == "the disk is full"); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
	}
	return nil
}

// numbersGoOn opens the journal, and checks that what follows has numbers that no
// reader has seen, which it adds to shown if they are stored.
func numbersGoOn(dir string, shown map[string]uint64, full bool) error {
	store, err := Open(filepath.Join(dir, "journal.db"))
	if err != nil {
		return err
	}
	j, err := journal.Open(store, journal.Options{RetryDelay: time.Millisecond})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	for stream, last := range shown {
		_, have, err := j.Bounds(stream)
		if err != nil || have != last {
			return fmt.Errorf("%s has %d entries, want %d: %w", stream, have, last, err)
		}
		seen := uint64(0)
		for r := j.Reader(stream, 0); r.Cursor() < last; seen = r.Cursor() {
			batch, err := r.Next(context.Background())
			if err != nil {
				return err
			}
			if batch.Gap != nil && batch.Gap.From != seen+1 || batch.Reset != nil {
				return fmt.Errorf("%s behind %d: %+v", stream, seen, batch)
			}
		}
		if full {
			continue
		}
		seq, err := j.Append(stream, journal.FromAgent, []byte("x"))
		if err != nil || seq != last+1 {
			return fmt.Errorf("the next entry of %s is %d, want %d: %w", stream, seq, last+1, err)
		}
		if err := j.Wait(context.Background(), stream, seq); err != nil {
			return err
		}
		shown[stream] = seq
	}
	err = j.Close()
	if full {
		return nil // what could not be moved stays for the next one
	}
	return err
}

package app

import (
	"cmp"
	"math"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/files"
	"github.com/sandboxagent/sandboxagent/internal/journal"
	"github.com/sandboxagent/sandboxagent/internal/process"
	"github.com/sandboxagent/sandboxagent/internal/session"
)

// minJournalTotal is what the journal may take of the smallest disk.
const minJournalTotal = 256 << 20

// journalShare returns what the journal may take of the disk that has dir, or will
// have it: a tenth.
func journalShare(dir string) int64 {
	var disk syscall.Statfs_t
	for syscall.Statfs(dir, &disk) != nil {
		up := filepath.Dir(dir)
		if up == dir {
			return minJournalTotal
		}
		dir = up
	}
	return max(int64(disk.Blocks)*int64(disk.Bsize)/10, minJournalTotal)
}

// limitsWithDefaults sets what is zero. The journal is in dir.
func limitsWithDefaults(l api.Limits, dir string) api.Limits {
	agent, turn, here := bridge.DefaultLimits, session.DefaultLimits, thisMachine()
	return api.Limits{
		MaxBodyBytes:         cmp.Or(l.MaxBodyBytes, 2<<20),
		MaxContentBytes:      cmp.Or(l.MaxContentBytes, 32<<20),
		MaxFileBytes:         cmp.Or(l.MaxFileBytes, files.DefaultMaxFileBytes),
		MaxUploadBytes:       cmp.Or(l.MaxUploadBytes, files.DefaultMaxUploadBytes),
		MaxHTTPConnections:   cmp.Or(l.MaxHTTPConnections, here.connections()),
		MaxHeaderBytes:       cmp.Or(l.MaxHeaderBytes, 64<<10),
		HeaderTimeoutMs:      cmp.Or(l.HeaderTimeoutMs, 10_000),
		BodyStallMs:          cmp.Or(l.BodyStallMs, 15_000),
		ResponseStallMs:      cmp.Or(l.ResponseStallMs, 60_000),
		MaxUploadEntries:     cmp.Or(l.MaxUploadEntries, files.DefaultMaxUploadEntries),
		MaxBatchFiles:        cmp.Or(l.MaxBatchFiles, files.DefaultMaxBatchFiles),
		MaxWatches:           cmp.Or(l.MaxWatches, files.DefaultMaxWatches),
		MaxMatches:           cmp.Or(l.MaxMatches, files.DefaultMaxMatches),
		MaxConnections:       cmp.Or(l.MaxConnections, here.agents()),
		MaxPendingRequests:   cmp.Or(l.MaxPendingRequests, agent.MaxPending),
		MaxQueuedBytes:       cmp.Or(l.MaxQueuedBytes, agent.MaxQueuedBytes),
		MaxFrameBytes:        cmp.Or(l.MaxFrameBytes, agent.MaxFrameBytes),
		RequestTimeoutMs:     cmp.Or(l.RequestTimeoutMs, agent.RequestTimeout.Milliseconds()),
		WriteStallMs:         cmp.Or(l.WriteStallMs, agent.WriteStall.Milliseconds()),
		MaxSessions:          cmp.Or(l.MaxSessions, turn.MaxSessions),
		MaxQueuedPrompts:     cmp.Or(l.MaxQueuedPrompts, turn.MaxQueued),
		MaxPrimerBytes:       cmp.Or(l.MaxPrimerBytes, turn.PrimerBytes),
		MaxTurnTextBytes:     cmp.Or(l.MaxTurnTextBytes, turn.TextBytes),
		IdleTimeoutMs:        cmp.Or(l.IdleTimeoutMs, turn.IdleTimeout.Milliseconds()),
		CancelTimeoutMs:      cmp.Or(l.CancelTimeoutMs, turn.CancelTimeout.Milliseconds()),
		MaxTotalLogBytes:     cmp.Or(l.MaxTotalLogBytes, 256<<20),
		MaxConcurrentRuns:    cmp.Or(l.MaxConcurrentRuns, 256),
		RunGraceMs:           cmp.Or(l.RunGraceMs, 2000),
		MaxFinishedProcesses: cmp.Or(l.MaxFinishedProcesses, 256),
		FinishedProcessAgeMs: cmp.Or(l.FinishedProcessAgeMs, time.Hour.Milliseconds()),
		InputTimeoutMs:       cmp.Or(l.InputTimeoutMs, 10_000),
		FollowStallMs:        cmp.Or(l.FollowStallMs, 5_000),
		JournalWindowBytes:   cmp.Or(l.JournalWindowBytes, 4<<20),
		JournalBacklogBytes:  cmp.Or(l.JournalBacklogBytes, 16<<20),
		JournalRetentionDays: cmp.Or(l.JournalRetentionDays, 30),
		MaxJournalEntries:    l.MaxJournalEntries,
		MaxJournalBytes:      l.MaxJournalBytes,
		MaxJournalTotalBytes: cmp.Or(l.MaxJournalTotalBytes, journalShare(dir)),
		ShutdownTimeoutMs:    cmp.Or(l.ShutdownTimeoutMs, 10_000),
	}
}

// milliseconds is a duration of the wire; one that is too long for this type is the
// longest one.
func milliseconds(n int64) time.Duration {
	const longest = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(n, -longest), longest)) * time.Millisecond
}

func bridgeLimits(l api.Limits) bridge.Limits {
	return bridge.Limits{
		MaxConnections: l.MaxConnections,
		MaxPending:     l.MaxPendingRequests,
		MaxQueuedBytes: l.MaxQueuedBytes,
		MaxFrameBytes:  l.MaxFrameBytes,
		RequestTimeout: milliseconds(l.RequestTimeoutMs),
		WriteStall:     milliseconds(l.WriteStallMs),
	}
}

func sessionLimits(l api.Limits) session.Limits {
	return session.Limits{
		MaxSessions:   l.MaxSessions,
		MaxQueued:     l.MaxQueuedPrompts,
		PrimerBytes:   l.MaxPrimerBytes,
		TextBytes:     l.MaxTurnTextBytes,
		IdleTimeout:   milliseconds(l.IdleTimeoutMs),
		CancelTimeout: milliseconds(l.CancelTimeoutMs),
	}
}

func retention(l api.Limits) journal.Retention {
	const day, forever = 24 * time.Hour, 36_500
	return journal.Retention{
		MaxAge:     time.Duration(min(l.JournalRetentionDays, forever)) * day,
		MaxEntries: l.MaxJournalEntries,
		MaxBytes:   l.MaxJournalBytes,
		TotalBytes: l.MaxJournalTotalBytes,
	}
}

func processLimits(l api.Limits) process.Limits {
	return process.Limits{
		MaxTotalLogBytes: l.MaxTotalLogBytes,
		MaxRuns:          l.MaxConcurrentRuns,
		RunGrace:         milliseconds(l.RunGraceMs),
		MaxFinished:      l.MaxFinishedProcesses,
		FinishedAge:      milliseconds(l.FinishedProcessAgeMs),
		InputTimeout:     milliseconds(l.InputTimeoutMs),
		FollowStall:      milliseconds(l.FollowStallMs),
	}
}

// filesConfig configures the file routes, which keep their notes in data.
func filesConfig(cfg Config, data string) files.Config {
	l := cfg.Limits
	return files.Config{
		Home:             cfg.Home,
		Notes:            filepath.Join(data, "unfinished"),
		MaxFileBytes:     l.MaxFileBytes,
		MaxUploadBytes:   l.MaxUploadBytes,
		MaxUploadEntries: l.MaxUploadEntries,
		MaxBatchFiles:    l.MaxBatchFiles,
		MaxWatches:       l.MaxWatches,
		MaxMatches:       l.MaxMatches,
	}
}

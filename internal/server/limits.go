package server

import (
	"cmp"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/internal/bridge"
	"github.com/sandboxagent/sandboxagent/internal/files"
	"github.com/sandboxagent/sandboxagent/internal/process"
)

// limitsWithDefaults sets what is zero.
func limitsWithDefaults(l api.Limits) api.Limits {
	agent := bridge.DefaultLimits
	return api.Limits{
		MaxBodyBytes:         cmp.Or(l.MaxBodyBytes, 2<<20),
		MaxFileBytes:         cmp.Or(l.MaxFileBytes, files.DefaultMaxFileBytes),
		MaxUploadBytes:       cmp.Or(l.MaxUploadBytes, files.DefaultMaxUploadBytes),
		MaxUploadEntries:     cmp.Or(l.MaxUploadEntries, files.DefaultMaxUploadEntries),
		MaxBatchFiles:        cmp.Or(l.MaxBatchFiles, files.DefaultMaxBatchFiles),
		MaxWatches:           cmp.Or(l.MaxWatches, files.DefaultMaxWatches),
		MaxMatches:           cmp.Or(l.MaxMatches, files.DefaultMaxMatches),
		MaxConnections:       cmp.Or(l.MaxConnections, agent.MaxConnections),
		MaxPendingRequests:   cmp.Or(l.MaxPendingRequests, agent.MaxPending),
		MaxQueuedBytes:       cmp.Or(l.MaxQueuedBytes, agent.MaxQueuedBytes),
		MaxFrameBytes:        cmp.Or(l.MaxFrameBytes, agent.MaxFrameBytes),
		RequestTimeoutMs:     cmp.Or(l.RequestTimeoutMs, agent.RequestTimeout.Milliseconds()),
		WriteStallMs:         cmp.Or(l.WriteStallMs, agent.WriteStall.Milliseconds()),
		MaxTotalLogBytes:     cmp.Or(l.MaxTotalLogBytes, 256<<20),
		MaxFinishedProcesses: cmp.Or(l.MaxFinishedProcesses, 256),
		FinishedProcessAgeMs: cmp.Or(l.FinishedProcessAgeMs, time.Hour.Milliseconds()),
		InputTimeoutMs:       cmp.Or(l.InputTimeoutMs, 10_000),
		JournalWindowBytes:   cmp.Or(l.JournalWindowBytes, 4<<20),
		JournalBacklogBytes:  cmp.Or(l.JournalBacklogBytes, 16<<20),
		JournalRetentionDays: cmp.Or(l.JournalRetentionDays, 30),
		ShutdownTimeoutMs:    cmp.Or(l.ShutdownTimeoutMs, 10_000),
	}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

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

func processLimits(l api.Limits) process.Limits {
	return process.Limits{
		MaxTotalLogBytes: l.MaxTotalLogBytes,
		MaxFinished:      l.MaxFinishedProcesses,
		FinishedAge:      milliseconds(l.FinishedProcessAgeMs),
		InputTimeout:     milliseconds(l.InputTimeoutMs),
	}
}

func filesConfig(home string, l api.Limits) files.Config {
	return files.Config{
		Home:             home,
		MaxFileBytes:     l.MaxFileBytes,
		MaxUploadBytes:   l.MaxUploadBytes,
		MaxUploadEntries: l.MaxUploadEntries,
		MaxBatchFiles:    l.MaxBatchFiles,
		MaxWatches:       l.MaxWatches,
		MaxMatches:       l.MaxMatches,
	}
}

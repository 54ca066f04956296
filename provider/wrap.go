package provider

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
)

// A Wrapper is a provider that adds something to every call of another one, such as
// [WithLog] and [WithRetry]. It has the methods of all abilities; what the other one
// cannot do is an error of the kind [api.KindNotSupported]. [As] finds the abilities
// that are real.
type Wrapper interface {
	Provider
	Unwrap() Provider
}

// As returns the ability T of p, such as [Pauser]. Through a wrapper it is the ability
// of what is wrapped, with what the wrapper adds.
func As[T any](p Provider) (ability T, ok bool) {
	innermost := p
	for {
		w, wraps := innermost.(Wrapper)
		if !wraps {
			break
		}
		innermost = w.Unwrap()
	}
	if ability, ok = innermost.(T); !ok {
		return ability, false
	}
	for {
		if ability, ok = p.(T); ok {
			return ability, true
		}
		p = p.(Wrapper).Unwrap() // the innermost has it
	}
}

// A call is one call of a provider.
type call struct {
	verb string
	id   string // of the sandbox; empty if there is none yet, or none in particular

	// again says that the call may be made twice: what it did the first time does no
	// harm.
	again bool
}

// wrapper calls around in place of each call of the provider.
type wrapper struct {
	Provider
	around func(ctx context.Context, c call, do func(context.Context) error) error
}

// Unwrap returns the provider that is wrapped.
func (w *wrapper) Unwrap() Provider { return w.Provider }

// Create implements [Provider].
func (w *wrapper) Create(ctx context.Context, spec Spec) (i *Instance, err error) {
	err = w.around(ctx, call{verb: "create", again: true}, func(ctx context.Context) error {
		i, err = w.Provider.Create(ctx, spec)
		return err
	})
	return i, err
}

// Get implements [Provider].
func (w *wrapper) Get(ctx context.Context, id string) (i *Instance, err error) {
	err = w.around(ctx, call{"get", id, true}, func(ctx context.Context) error {
		i, err = w.Provider.Get(ctx, id)
		return err
	})
	return i, err
}

// List implements [Provider]. Only a list that fails before its first sandbox is
// asked for again.
func (w *wrapper) List(ctx context.Context, labels map[string]string) iter.Seq2[*Instance, error] {
	return func(yield func(*Instance, error) bool) {
		var failed error
		c := call{verb: "list", again: true}
		err := w.around(ctx, c, func(ctx context.Context) error {
			first := true
			for i, err := range w.Provider.List(ctx, labels) {
				if err != nil && first {
					failed = err
					return err
				}
				first = false
				if !yield(i, err) {
					break
				}
			}
			return nil
		})
		if err != nil && failed != nil {
			yield(nil, err)
		}
	}
}

// Destroy implements [Provider].
func (w *wrapper) Destroy(ctx context.Context, id string) error {
	tried := false
	return w.around(ctx, call{"destroy", id, true}, func(ctx context.Context) error {
		err := w.Provider.Destroy(ctx, id)
		if tried && errors.Is(err, api.CodeSandboxNotFound) {
			err = nil // the call before has done it
		}
		tried = true
		return err
	})
}

// Pause implements [Pauser].
func (w *wrapper) Pause(ctx context.Context, id string) error {
	return ability(ctx, w, call{"pause", id, true}, func(ctx context.Context, p Pauser) error { return p.Pause(ctx, id) })
}

// Resume implements [Resumer].
func (w *wrapper) Resume(ctx context.Context, id string) error {
	return ability(ctx, w, call{"resume", id, true}, func(ctx context.Context, p Resumer) error { return p.Resume(ctx, id) })
}

// Restart implements [Restarter].
func (w *wrapper) Restart(ctx context.Context, id string) error {
	return ability(ctx, w, call{"restart", id, true}, func(ctx context.Context, p Restarter) error { return p.Restart(ctx, id) })
}

// Kill implements [Killer].
func (w *wrapper) Kill(ctx context.Context, id string) error {
	return ability(ctx, w, call{"kill", id, true}, func(ctx context.Context, p Killer) error { return p.Kill(ctx, id) })
}

// Exec implements [Execer].
func (w *wrapper) Exec(ctx context.Context, id string, cmd api.ProcessRunRequest) (result *api.ProcessRunResult, err error) {
	err = ability(ctx, w, call{"exec", id, false}, func(ctx context.Context, p Execer) error {
		result, err = p.Exec(ctx, id, cmd)
		return err
	})
	return result, err
}

// Logs implements [Logger].
func (w *wrapper) Logs(ctx context.Context, id string) (log []byte, err error) {
	err = ability(ctx, w, call{"logs", id, true}, func(ctx context.Context, p Logger) error {
		log, err = p.Logs(ctx, id)
		return err
	})
	return log, err
}

// Kept implements [Keeper].
func (w *wrapper) Kept(ctx context.Context, id string) (n int, err error) {
	err = ability(ctx, w, call{"kept", id, true}, func(ctx context.Context, p Keeper) error {
		n, err = p.Kept(ctx, id)
		return err
	})
	return n, err
}

// SetKeys implements [KeySetter].
func (w *wrapper) SetKeys(ctx context.Context, id string) (warnings []string, err error) {
	err = ability(ctx, w, call{"hand keys to", id, true}, func(ctx context.Context, p KeySetter) error {
		warnings, err = p.SetKeys(ctx, id)
		return err
	})
	return warnings, err
}

// Prune implements [Pruner].
func (w *wrapper) Prune(ctx context.Context) (pruned Pruned, err error) {
	err = ability(ctx, w, call{verb: "prune", again: true}, func(ctx context.Context, p Pruner) error {
		pruned, err = p.Prune(ctx)
		return err
	})
	return pruned, err
}

// ability makes a call of an ability, if the wrapped provider has it.
func ability[T any](ctx context.Context, w *wrapper, c call, do func(context.Context, T) error) error {
	p, ok := As[T](w.Provider)
	if !ok {
		return api.NewError(api.KindNotSupported, "", "the provider cannot %s a sandbox", c.verb)
	}
	return w.around(ctx, c, func(ctx context.Context) error { return do(ctx, p) })
}

// WithLog returns a provider that logs each call of p, how long it took, and its
// error, at the level debug, and calls that fail at warn. It logs nothing of a spec
// but its name, and nothing of what commands print.
func WithLog(p Provider, log *slog.Logger) Wrapper {
	return &wrapper{p, func(ctx context.Context, c call, do func(context.Context) error) error {
		began := time.Now()
		err := do(ctx)
		level, attrs := slog.LevelDebug, []slog.Attr{slog.Duration("took", time.Since(began))}
		if c.id != "" {
			attrs = append(attrs, slog.String("sandbox", c.id))
		}
		if err != nil {
			level, attrs = slog.LevelWarn, append(attrs, slog.Any("error", err))
		}
		log.LogAttrs(ctx, level, "provider: "+c.verb, attrs...)
		return err
	}}
}

// RetryOptions say how [WithRetry] tries again. The zero value is usable.
type RetryOptions struct {
	Attempts int           // of each call in all; 0 means 4
	Wait     time.Duration // after the first attempt, and twice as long after each further one; 0 means 100 ms

	// Temporary reports whether a call that failed so may succeed later. Nil means
	// [Temporary].
	Temporary func(error) bool
}

const (
	defaultAttempts = 4
	defaultWait     = 100 * time.Millisecond
)

// WithRetry returns a provider that makes a call again that failed for a reason which
// may pass, until its context ends. A command that may have run is not run again.
func WithRetry(p Provider, o RetryOptions) Wrapper {
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Temporary == nil {
		o.Temporary = Temporary
	}
	return &wrapper{p, func(ctx context.Context, c call, do func(context.Context) error) error {
		wait := o.Wait
		for attempt := 1; ; attempt++ {
			err := do(ctx)
			if err == nil || !c.again || attempt >= o.Attempts || ctx.Err() != nil || !o.Temporary(err) {
				return err
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return err
			case <-timer.C:
			}
			wait *= 2
		}
	}}
}

// passing are the statuses of what may be over in a moment.
var passing = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// Temporary reports whether an error is that of a connection or of an engine that is
// overloaded, and not of what was asked for.
func Temporary(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var problem *api.Error
	if errors.As(err, &problem) {
		down := problem.Code == api.CodeSandboxPaused || problem.Code == api.CodeSandboxNotRunning
		return slices.Contains(passing, problem.Status) && !down
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	for _, broken := range []error{syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, io.ErrUnexpectedEOF} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

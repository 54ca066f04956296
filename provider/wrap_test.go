package provider_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandboxagent/sandboxagent/api"
	"github.com/sandboxagent/sandboxagent/provider"
)

// plain is a provider that can only pause. Its calls fail with the errors in turn.
type plain struct {
	fail  []error
	calls []string
}

func (p *plain) call(verb string) error {
	p.calls = append(p.calls, verb)
	if len(p.fail) == 0 {
		return nil
	}
	err := p.fail[0]
	p.fail = p.fail[1:]
	return err
}

func (p *plain) Create(_ context.Context, spec provider.Spec) (*provider.Instance, error) {
	return &provider.Instance{ID: "one", Spec: spec}, p.call("create")
}

func (p *plain) Get(_ context.Context, id string) (*provider.Instance, error) {
	return &provider.Instance{ID: id}, p.call("get")
}

func (p *plain) List(context.Context, map[string]string) iter.Seq2[*provider.Instance, error] {
	return func(yield func(*provider.Instance, error) bool) {
		for _, id := range []string{"one", "two"} {
			if err := p.call("list"); !yield(&provider.Instance{ID: id}, err) {
				return
			}
		}
	}
}

func (p *plain) Destroy(context.Context, string) error        { return p.call("destroy") }
func (p *plain) Pause(context.Context, string) error          { return p.call("pause") }
func (p *plain) Kept(context.Context, string) (int, error)    { return 7, p.call("kept") }
func (p *plain) Logs(context.Context, string) ([]byte, error) { return []byte("log"), p.call("logs") }

func (p *plain) Exec(context.Context, string, api.ProcessRunRequest) (*api.ProcessRunResult, error) {
	return new(api.ProcessRunResult), p.call("exec")
}

func wrapped(p provider.Provider, log *slog.Logger) provider.Provider {
	return provider.WithRetry(provider.WithLog(p, log), provider.RetryOptions{Wait: time.Nanosecond})
}

var quiet = slog.New(slog.DiscardHandler)

func TestAsFindsTheAbilitiesOfWhatIsWrapped(t *testing.T) {
	p := wrapped(new(plain), quiet)
	if _, ok := provider.As[provider.Pauser](p); !ok {
		t.Error("the ability to pause is lost")
	}
	if _, ok := provider.As[provider.Resumer](p); ok {
		t.Error("a provider that cannot resume has the ability")
	}
	if err := p.(provider.Resumer).Resume(t.Context(), "one"); !errors.Is(err, api.CodeNotSupported) {
		t.Errorf("resume: %v", err)
	}
	if _, ok := provider.As[*plain](p); !ok {
		t.Error("what is wrapped is not found")
	}
}

func TestRetry(t *testing.T) {
	busy := api.NewError(api.KindUnavailable, "", "the engine is busy")
	paused := api.NewError(api.KindUnavailable, api.CodeSandboxPaused, "it is paused")
	missing := api.NotFound("sandbox", "one")
	pause := func(ctx context.Context, p provider.Provider) error { return p.(provider.Pauser).Pause(ctx, "one") }
	destroy := func(ctx context.Context, p provider.Provider) error { return p.Destroy(ctx, "one") }
	for name, test := range map[string]struct {
		fail  []error
		do    func(context.Context, provider.Provider) error
		calls int
		want  error
	}{
		"an engine that is busy":   {[]error{busy, fmt.Errorf("call: %w", busy)}, pause, 3, nil},
		"a connection that broke":  {[]error{fmt.Errorf("call: %w", syscall.ECONNRESET), io.ErrUnexpectedEOF, syscall.ECONNREFUSED}, pause, 4, nil},
		"one that stays busy":      {[]error{busy, busy, busy, busy, busy}, pause, 4, busy},
		"a sandbox that is paused": {[]error{paused}, pause, 1, paused},
		"a spec that is wrong": {[]error{provider.Unsupported("no")}, func(ctx context.Context, p provider.Provider) error {
			_, err := p.Create(ctx, provider.Spec{})
			return err
		}, 1, api.CodeUnsupportedSpec},
		"a creation": {[]error{busy}, func(ctx context.Context, p provider.Provider) error {
			_, err := p.Create(ctx, provider.Spec{})
			return err
		}, 2, nil},
		"a command, which may have run": {[]error{syscall.ECONNRESET}, func(ctx context.Context, p provider.Provider) error {
			_, err := p.(provider.Execer).Exec(ctx, "one", api.ProcessRunRequest{Command: "true"})
			return err
		}, 1, syscall.ECONNRESET},
		"a destruction that was done": {[]error{syscall.ECONNRESET, missing}, destroy, 2, nil},
		"a sandbox that never was":    {[]error{missing}, destroy, 1, missing},
		"a caller that gave up":       {[]error{context.Canceled}, pause, 1, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			p := &plain{fail: test.fail}
			if err := test.do(t.Context(), wrapped(p, quiet)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if len(p.calls) != test.calls {
				t.Errorf("called %q", p.calls)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &plain{fail: []error{busy, busy}}
	if err := pause(ctx, provider.WithRetry(p, provider.RetryOptions{Wait: time.Hour})); !errors.Is(err, busy) || len(p.calls) != 1 {
		t.Errorf("after the end of its context: %v, %q", err, p.calls)
	}
}

func TestRetryOfAList(t *testing.T) {
	busy := api.NewError(api.KindUnavailable, "", "the engine is busy")
	for name, test := range map[string]struct {
		fail []error
		want []string
	}{
		"before the first sandbox": {[]error{busy}, []string{"one", "two"}},
		"after the first":          {[]error{nil, busy}, []string{"one", "error"}},
		"for ever":                 {[]error{busy, busy, busy, busy}, []string{"error"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for i, err := range wrapped(&plain{fail: test.fail}, quiet).List(t.Context(), nil) {
				if err != nil {
					got = append(got, "error")
				} else {
					got = append(got, i.ID)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := provider.WithLog(&plain{fail: []error{nil, errors.New("no luck")}}, log)
	if _, err := p.Create(t.Context(), provider.Spec{Env: map[string]string{"KEY": "hush"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Destroy(t.Context(), "one"); err == nil {
		t.Error("the error is lost")
	}
	for _, want := range []string{"level=DEBUG msg=\"provider: create\" took=", "level=WARN msg=\"provider: destroy\" ", "sandbox=one", "no luck"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("a secret is in %s", out.String())
	}
}

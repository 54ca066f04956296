# The verbs of this repository. Each works on a fresh clone.

GO      ?= go
COMMIT  ?= $(shell git describe --always --abbrev=7 --dirty=.dirty --exclude='*' 2>/dev/null)
LDFLAGS  = -s -w -X github.com/sandboxagent/sandboxagent/internal/cli.commit=$(COMMIT)

# How long the server is killed and revived at random.
CHAOSTIME ?= 60s

.PHONY: build release test check gen ui conformance bench fuzz

build: ## the static binary, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

release: ## the binaries of all systems, their components, and checksums, in dist/
	release/build

test: ## everything that needs no network, with the race detector; a skip is a failure
	STEP=test .ci/gotest -race -shuffle=on ./...

check: ## format, vet, lint, freshness of generated files, and the tests
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(MAKE) gen
	git diff --exit-code -- api/openapi.json docs/cli.md docs/agents.md
	$(MAKE) test

gen: ## what is generated: the OpenAPI document, the CLI reference, and the matrix of the agents
	$(GO) run ./internal/gen

conformance: export SANDBOX_AGENT_BIN = $(CURDIR)/bin/sandbox-agent
conformance: build ## foreign clients, property-based tests, real agents, a browser, a database, and some chaos, on what is in bin/
	.ci/install-postgres
	conformance/run
	conformance/properties/run
	conformance/ui/run
	STEP=agents .ci/gotest -tags conformance -count=1 ./conformance/...
	STEP=storage .ci/gotest -tags conformance -count=1 ./internal/journal/postgres
	STEP=scale .ci/gotest -tags conformance -count=1 -run 'Postgres|Thousand|ReplayOfMany|LongestFrame' ./internal/server
	STEP=chaos .ci/gotest -count=1 -run TestChaos ./internal/session -chaos.duration $(CHAOSTIME)

ui: ## the page of the inspector, from its sources
	internal/ui/build

bench: build ## our server and the earlier one in turns, on the same work
	$(GO) run ./bench

fuzz: ## each fuzz target for FUZZTIME (default 30s)
	.ci/fuzz

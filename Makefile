# Everything here needs Go (see go.mod for the version) and make; `make test`
# installs the Debian and npm packages the tests use if they are missing.

# As Caddy's own releases do, leave out the databases that Caddy would link in for itself.
TAGS     := nobadger,nomysql,nopgx
BIN      := bin/portcullis
FUZZTIME ?= 30s

GOFUMPT_VERSION       := v0.12.0
STATICCHECK_VERSION   := v0.8.2
GOLANGCI_LINT_VERSION := v2.15.0

# A tool is rebuilt when its version or that of Go changes.
TOOLS        = bin/tools/$(shell go env GOVERSION 2>/dev/null)
GOFUMPT      = $(TOOLS)/gofumpt@$(GOFUMPT_VERSION)/gofumpt
STATICCHECK  = $(TOOLS)/staticcheck@$(STATICCHECK_VERSION)/staticcheck
GOLANGCI     = $(TOOLS)/golangci-lint@$(GOLANGCI_LINT_VERSION)/golangci-lint

# Where git cannot name a commit (an archive, a checkout owned by another
# user), build without one instead of failing.
export GOFLAGS := $(strip $(GOFLAGS) $(shell git rev-parse -q --verify HEAD >/dev/null 2>&1 || echo -buildvcs=false))
export HOME    ?= $(CURDIR)/bin/.home
export STATICCHECK_CACHE    ?= $(CURDIR)/bin/cache/staticcheck
export GOLANGCI_LINT_CACHE  ?= $(CURDIR)/bin/cache/golangci-lint

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run build test bench lint fmt fuzz test-race test-untagged test-deps \
	check-module check-requirements check-caddyfiles lint-go tools clean need-go

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'

run: build ## build and start the gateway with Caddyfile.example
	$(BIN) run --config Caddyfile.example --adapter caddyfile

build: need-go ## build bin/portcullis
	go build -trimpath -tags $(TAGS) -o $(BIN) ./cmd/portcullis

test: export PORTCULLIS_REQUIRE_SERVERS := 1
test: test-deps lint test-race test-untagged fuzz ## run every check and every test

# With QUICK=1 the figures are few, and only show that it works. The servers of bench-deps are measured if they are there.
bench: build ## run the benchmarks, and measure the gateway beside other servers (QUICK=1: shortly)
	go test -tags $(TAGS) -run '^$$' -bench . -benchmem $(if $(QUICK),-benchtime 10ms) $$(tools/packages-with Benchmark)
	go build -trimpath -tags $(TAGS) -o $(BIN)-bench ./bench
	$(BIN)-bench -binary $(BIN) $(if $(QUICK),-quick)

.PHONY: bench-deps
bench-deps: ## install the servers that the gateway is measured beside (Debian packages)
	tools/install-bench-deps

lint: check-module check-requirements lint-go check-caddyfiles ## check go.mod, the requirements, the formatting, the code and every Caddyfile

fmt: $(GOLANGCI) ## format the Go code
	$(GOLANGCI) fmt

fuzz: need-go ## run each fuzz target for FUZZTIME (30s)
	tools/fuzz -tags $(TAGS) -fuzztime $(FUZZTIME)

# The tests that start the gateway start the one of PORTCULLIS_BIN, so that it runs under the race detector too.
test-race: need-go ## build and test under the race detector
	go build -tags $(TAGS) ./...
	CGO_ENABLED=1 go build -race -tags $(TAGS) -o $(BIN)-race ./cmd/portcullis
	CGO_ENABLED=1 PORTCULLIS_BIN=$(CURDIR)/$(BIN)-race go test -race -count=1 -timeout 20m -tags $(TAGS) ./...

test-untagged: need-go ## build and test without build tags
	go build ./...
	go build -o $(BIN)-untagged ./cmd/portcullis
	PORTCULLIS_BIN=$(CURDIR)/$(BIN)-untagged go test -count=1 -timeout 20m ./...

.PHONY: mutants
mutants: need-go ## take each security check out, and see that a test notices (ten minutes)
	go run ./tools/mutants -tags $(TAGS)

test-deps: need-go ## install what the tests need (Debian and npm packages)
	tools/install-test-deps

check-module: need-go ## check go.mod and go.sum
	tools/check-module

check-requirements: need-go ## check that tests name the requirements that docs/ lists
	go run ./tools/check-requirements

lint-go: need-go tools ## check the formatting and the code
	tools/check-gofumpt $(GOFUMPT)
	go vet -tags $(TAGS) ./...
	go vet ./...
	go vet -C interop/fosite ./...
	$(STATICCHECK) -tags $(TAGS) ./...
	$(GOLANGCI) run --build-tags $(TAGS)

check-caddyfiles: build ## format-check and validate every Caddyfile, those in the documentation included
	go run ./tools/check-caddyfiles -binary $(BIN)

tools: $(GOFUMPT) $(STATICCHECK) $(GOLANGCI) ## install the formatter and the linters into bin/tools

$(GOFUMPT): | need-go
	GOBIN="$(CURDIR)/$(@D)" go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)

$(STATICCHECK): | need-go
	GOBIN="$(CURDIR)/$(@D)" go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

$(GOLANGCI): | need-go
	GOBIN="$(CURDIR)/$(@D)" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

clean: ## remove what make has built
	rm -rf bin

need-go:
	@command -v go >/dev/null || { echo "Go is not installed, or not in PATH: see https://go.dev/doc/install" >&2; exit 1; }

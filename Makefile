# make build   a static bin/mutual
# make test    everything that needs no installation, race detector on; skips are listed
# make peers   installs the peers that tests speak to (as root: apt and npm)
# make demo    the story on one machine; ONCE=1 ends by itself
# make bench   beside crypto/tls, in one run, as ratios; then the authority: rates, times, memory
# make bogo    the TLS test suite of BoringSSL against the engine: RUNNER=its binary, RUNNER_DIR=its folder
# make fuzz    every fuzz target in turn, FUZZTIME each
# make lint fmt cross

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s
ONCE     ?=
TESTS    ?= ./...
MODULES  := . internal/suite/wycheproof internal/ca/zlint

# The version comes from here, so Go need not ask git, which refuses where the
# tree belongs to another user.
export GOFLAGS += -buildvcs=false

.PHONY: build test peers demo bench bogo fuzz lint fmt fmt-check vet tidy-check cross clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/mutual ./cmd/mutual

test:
	@for module in $(if $(filter ./...,$(TESTS)),$(MODULES),.); do \
		(cd $$module && go test -race -timeout 20m -json $(TESTS)) || echo "{\"Action\":\"exit\",\"Package\":\"$$module\"}"; \
	done | go run ./internal/house/report

peers:
	scripts/peers

demo: build
	bin/mutual demo $(if $(ONCE),--once)

bench: build
	go run ./internal/bench
	go run ./internal/bench/authority

# The runner is not ours, and not here: docs/conformance.md. BOGO adds flags of its own.
bogo:
	@test -x "$(RUNNER)" -a -d "$(RUNNER_DIR)" || { echo "make bogo RUNNER=BINARY RUNNER_DIR=FOLDER: the runner of BoringSSL, and ssl/test/runner of the same tree"; exit 2; }
	go build -o bin/bogo-shim ./internal/bogo/shim
	-cd "$(RUNNER_DIR)" && "$(abspath $(RUNNER))" -pipe -num-workers 2 -shim-path "$(CURDIR)/bin/bogo-shim" \
		-shim-config "$(CURDIR)/internal/bogo/config.json" -json-output "$(CURDIR)/bin/bogo.json" $(BOGO) > "$(CURDIR)/bin/bogo.log"
	go run ./internal/bogo/count bin/bogo.json

fuzz:
	FUZZTIME=$(FUZZTIME) scripts/fuzz

lint:
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@set -e; for module in $(MODULES); do echo "lint $$module"; (cd $$module && "$(CURDIR)/bin/golangci-lint" run ./...); done

fmt:
	gofmt -w .

fmt-check:
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "not formatted (make fmt mends it):"; echo "$$bad"; exit 1; fi

vet:
	@set -e; for module in $(MODULES); do echo "vet $$module"; (cd $$module && go vet ./...); done

# go.mod names what is imported, and go.sum nothing else.
tidy-check:
	@set -e; for module in $(MODULES); do echo "tidy $$module"; (cd $$module && go mod tidy -diff); done

# Tests are compiled for every system too, and run on this one.
cross:
	@set -e; for t in linux/arm64 darwin/arm64 windows/amd64; do \
		echo "cross-build $$t"; \
		CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} go build -o /dev/null ./cmd/mutual; \
		CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} go vet ./...; \
	done

clean:
	rm -rf bin

# rmqctl: every task a contributor or the CI runs. `make` alone prints this list.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      ?= go
LDFLAGS := -s -w -X main.version=$(VERSION)
export CGO_ENABLED = 0
# Tests on systemd hosts run one package at a time, after the others: so many hosts at once are as much as a kernel carries.
HOSTS    = '/e2e$$\|/hosts/bed$$'

.PHONY: help build cross demo test unit system peers lint fuzz race bench bench-page microbench docs disasters kills torture chaos mutants clean

help: ## print the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-10s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

build: ## bin/rmqctl: one static binary for this machine
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/rmqctl ./cmd/rmqctl

cross: ## bin/rmqctl-linux-amd64 and bin/rmqctl-linux-arm64
	GOOS=linux GOARCH=amd64 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/rmqctl-linux-amd64 ./cmd/rmqctl
	GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/rmqctl-linux-arm64 ./cmd/rmqctl

demo: build ## deploy a 2m-2s-sync cluster on this machine, use it, kill a master, clean up
	bin/rmqctl demo

test: lint unit system ## everything: lint, unit tests, real Java and Go peers, four real hosts

unit: ## tests that need neither root nor Java
	$(GO) test -timeout 15m $$($(GO) list ./... | grep -v '^rmqctl/test/')

system: build peers ## real clients, mqadmin and brokers; four systemd hosts (root on Linux, else skipped with the reason)
	RMQCTL=$(CURDIR)/bin/rmqctl $(GO) test -p 2 -count=1 -timeout 40m -v $$($(GO) list ./test/... | grep -v $(HOSTS))
	RMQCTL=$(CURDIR)/bin/rmqctl $(GO) test -p 1 -count=1 -timeout 40m -v $$($(GO) list ./test/... | grep $(HOSTS))

peers: ## fetch Apache RocketMQ's jars by Maven (skipped with the reason where Maven is missing)
	test/java/fetch.sh

lint: ## gofmt, go vet, staticcheck, import floors
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -l $$(git ls-files -co --exclude-standard '*.go'); echo 'gofmt: run gofmt -w on the files above'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags long ./test/chaos
	$(GO) tool staticcheck ./...
	$(GO) test ./internal/arch

fuzz: ## every fuzz target for FUZZTIME each (default 10s)
	.ci/fuzz $(or $(FUZZTIME),10s)

race: ## unit tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $$($(GO) list ./... | grep -v '^rmqctl/test/')

torture: ## power cuts and kills on a disk in memory, SEEDS of them (default 100000) from FROM on
	$(GO) test -count=1 -timeout 0 -v -run 'TestSeeds$$' ./broker/store/torture -seeds=$(or $(SEEDS),100000) -from=$(or $(FROM),1)

sim: ## raft groups and master/slave groups in virtual time, SEEDS of each (default 100000) from FROM on
	$(GO) test -count=1 -timeout 0 -v -run 'Seeds$$' ./broker/raftgroup/sim ./broker/ha/sim -seeds=$(or $(SEEDS),100000) -from=$(or $(FROM),1)

bench: build peers ## ours against Java's brokers, in turns, into docs/BENCHMARKS.md (an hour or two; WORKLOADS, PEERS, ROUNDS, SECONDS, WARM choose less)
	$(GO) build -o bin/bench ./test/bench
	bin/bench run

bench-page: ## docs/BENCHMARKS.md again, from the saved runs in bin/bench.jsonl
	$(GO) run ./test/bench page

microbench: ## Go micro benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v '^rmqctl/test/')

docs: build ## regenerate docs/CONFIG.md, docs/COMMANDS.md and docs/REQUEST_CODES.md from their tables
	UPDATE_DOCS=1 $(GO) test -count=1 -run TestGeneratedDocs ./cmd/rmqctl

disasters: build peers ## X0 to X15 on D8 to D11, real hosts and real clients, into docs/DISASTERS.md (root on Linux; 7 minutes)
	CI=true RMQCTL=$(CURDIR)/bin/rmqctl $(GO) test -count=1 -timeout 20m -v -run TestDisasters ./test/e2e -disasters=$(CURDIR)/docs/DISASTERS.md

kills: build ## kill -9 again and again under load, longer than in CI (KILLS in each flush mode, default 200)
	RMQCTL=$(CURDIR)/bin/rmqctl $(GO) test -count=1 -timeout 0 -v -run TestNothingIsLostByKill ./test/torture -kills=$(or $(KILLS),200)

chaos: build ## faults against clusters of processes for SECONDS each (default 600); SEED and CASE choose (pair, raft, kills with KILLS, default 50)
	RMQCTL=$(CURDIR)/bin/rmqctl $(GO) test -count=1 -timeout 0 -v -tags long -run 'TestLong/$(or $(CASE),.*)$$' ./test/chaos -seconds=$(or $(SECONDS),600) -seed=$(or $(SEED),0) -kills=$(or $(KILLS),50)

mutants: ## build the broker with one line wrong, again and again: the test that guards the line must fail
	$(GO) test -count=1 -timeout 15m -v ./test/mutants

clean: ## remove bin/
	rm -rf bin

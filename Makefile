# Two commands for a fresh machine with Go and make: make demo, make test.

GO         ?= go
FUZZTIME   ?= 10s
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
STATIC      = CGO_ENABLED=0 $(GO) build -trimpath
INIT        = sandbox/native/embed/init.bin sandbox/container/embed/init.bin
ROOMS       = api cas coordinator sandbox verify/tlog worker cmd
# What starts goroutines or guards against them, and what is another thing with these tags.
CONCURRENT  = $$(sh .ci/packages '\bgo (func|[a-z][A-Za-z]*[.(])|\.Go\(|\bsync\.' $(ROOMS))
ITESTED     = $$(sh .ci/packages '^//go:build .*(itest|gavel_init)' sandbox verify worker cmd)
# One package's tests run at a time, while the next ones are built.
ALONE       = -p 3 -exec 'flock -o "$(CURDIR)/Makefile"'

.PHONY: build gavel-verify demo test itest probe check race bench proto fuzz clean FORCE

build: $(INIT) ## the one binary, with PID 1 of its sandboxes inside
	$(STATIC) -tags gavel_init -o bin/gavel ./cmd/gavel

# Go knows best whether PID 1 is out of date, so it is always asked.
sandbox/%/embed/init.bin: FORCE
	@mkdir -p $(@D)
	$(STATIC) -ldflags "-s -w" -o $@ ./sandbox/$*/init

demo: build ## a farm on this machine, three builds, one cheat
	bin/gavel demo

test: ## all that needs neither root nor Docker
	$(GO) vet ./...
	$(GO) test $$($(GO) list ./... | grep -v '^gavel/cmd/gavel$$')
	$(GO) test ./cmd/gavel # farms of twelve processes: alone, so that their windows are not missed

itest: $(INIT) ## what needs root, Docker, runc, crun, bubblewrap, debootstrap and .ci/tools; fails without them
	@sh .ci/need-itest
	$(GO) test -tags itest,gavel_init -count=1 $(ALONE) -timeout 60m $(ITESTED)

gavel-verify: ## the small program that checks bundles and logs, built from verify/ alone
	$(STATIC) -o bin/gavel-verify ./verify/cmd/gavel-verify

probe: $(INIT) ## escapes and exhaustion against every runner of this machine; PROBE=-v prints each
	@sh .ci/need-itest probe
	$(STATIC) -tags gavel_init -o bin/probe ./sandbox/probe/cmd
	bin/probe $(PROBE)

check: $(INIT) ## gofmt, vet and staticcheck, with and without the itest files
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags itest,gavel_init ./...
	$(STATICCHECK) ./...
	$(STATICCHECK) -tags itest,gavel_init ./...

race: ## the packages with concurrency, under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(ALONE) -timeout 20m $(CONCURRENT)

# Package, pattern and runs; a few minutes in all. What is not listed promises nothing.
BENCHES = raftfsm:Apply:5x raftfsm:Batch:3x raftfsm/auction:Standing:50x raftfsm/draw:Domains:2000x raftfsm/beacon:.:0.3s verify/attest:Bundle:0.3s verify/audit:Audit:3x verify/tlog:Append:100x cas/disk:Put:0.3s cas/inputs:Warm:10x \
	sandbox/native:Start:150x sandbox/docker:Start:10x sandbox/oci:Start:20x sandbox/clock:.:10x cmd/gavel:IdleFarm:20x cmd/gavel:Submits:1x

bench: build ## each promised figure, as a ratio to a limit measured in the same run
	@sh .ci/need-itest bench
	@: >bin/bench.txt; for bench in $(BENCHES); do \
		set -- $$(echo $$bench | tr : ' '); echo "measuring $$1 $$2"; \
		$(GO) test -tags itest,gavel_init -vet=off -run '^$$' -bench "$$2" -benchtime $$3 -count=1 -timeout 10m ./$$1 >>bin/bench.txt 2>&1 || \
			{ cat bin/bench.txt; exit 1; }; \
	done
	@awk -f .ci/bench-table bin/bench.txt

# Long inputs are minimised for a minute each by default, and nothing else is tried meanwhile.
fuzz: ## every fuzz target, for FUZZTIME each
	@set -e; for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$package); \
		for target in $$targets; do case $$target in Fuzz*) \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$package;; \
		esac; done; \
	done

proto: ## generated code of api/ (needs protoc)
	GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	GOBIN=$(CURDIR)/bin $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
	PATH="$(CURDIR)/bin:$$PATH" protoc -I api --go_out=. --go_opt=module=gavel \
		--go-grpc_out=. --go-grpc_opt=module=gavel api/gavel/v1/gavel.proto

clean:
	rm -rf bin sandbox/native/embed sandbox/container/embed
